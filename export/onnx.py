"""ONNX: the eager module through torch.export into `model.onnx`, a single file with a free batch axis.

Inputs and outputs carry the signature's names. The file says nothing of the machine that made it.
"""

import itertools
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch.onnx import ONNXProgram

from export.exporter import ExportError, ExportSource, Run, first_line
from export.quiet import quiet
from export.refusal import refusal
from models.tensors import Array, Signature, Tensors, TensorSpec

#: An ONNX file is one protobuf message, and those end at 2 GiB.
MAX_BYTES = 2**31 - 1

#: Where the exporter writes Python source lines and paths of this machine into every node.
_STACK_TRACE = "pkg.torch.onnx.stack_trace"


class OnnxExporter:
    """eager module → model.onnx"""

    format = "onnx"
    filename = "model.onnx"

    def export(self, source: ExportSource, path: Path) -> None:
        """Export and check the module, and save it as a single file."""
        size = sum(tensor.nbytes for tensor in source.module.state_dict().values())
        if size > MAX_BYTES:
            expected = f"weights of at most {MAX_BYTES:,} bytes, as in one ONNX file"
            raise ExportError(f"onnx: expected {expected}, found {size:,}; export exported_program or torchscript")
        try:
            program = _program(source)
            _keep_apart(program)
            _forget_paths(program)
            model = program.model_proto
            _check_opset(model, source.options.opset)
            _check_batch_axis(model, source.signature)
            onnx.checker.check_model(model, full_check=True)
            data = model.SerializeToString()
        except ExportError as error:
            raise ExportError(f"onnx: {error}") from error
        except Exception as error:
            raise ExportError(f"onnx: the module cannot be exported: {refusal(error, source)}") from error
        path.write_bytes(data)

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load with ONNX Runtime, with the optimisations that serving asks for."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: its warnings about unused initializers are no news for anybody here
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(f"onnx: cannot open {path.name}: {first_line(error)}") from error
        names = [spec.name for spec in signature.outputs]

        def run(inputs: Tensors) -> dict[str, Array]:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))

        return run


def _program(source: ExportSource) -> ONNXProgram:
    """Run torch's exporter, with its talk kept off the terminal."""
    signature = source.signature
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            source.module,
            source.example(),
            dynamo=True,
            opset_version=source.options.opset,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            dynamic_shapes=tuple(_free_axes(spec, signature) for spec in signature.inputs),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned nothing")
    return program


def _free_axes(spec: TensorSpec, signature: Signature) -> dict[int, str]:
    """Return which axes of an input are free, with the names they get in the file."""
    first = 1 if signature.batched else 0
    axes = {axis: f"{spec.name}_{axis}" for axis, length in enumerate(spec.shape, start=first) if length is None}
    return {0: "batch", **axes} if signature.max_batch_size > 1 else axes


def _check_opset(model: onnx.ModelProto, opset: int) -> None:
    """Raise ExportError if the graph is not of this opset: where torch cannot convert it, it leaves it as it is."""
    found = next(imported.version for imported in model.opset_import if imported.domain == "")
    if found != opset:
        raise ExportError(f"opset: expected {opset}, found that the module needs {found}; use --opset {found}")


def _check_batch_axis(model: onnx.ModelProto, signature: Signature) -> None:
    """Raise ExportError for an input or output whose first axis is a number in the graph, though rows may be many.

    That it is free in the graph proves nothing yet: parity runs the file at several sizes.
    """
    if signature.max_batch_size <= 1:
        return
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            axes = value.type.tensor_type.shape.dim
            if not axes or axes[0].HasField("dim_value"):
                found = f"the length {axes[0].dim_value}" if axes else "no axis at all"
                raise ExportError(
                    f"{kind} {value.name!r}: expected a free batch axis, found {found}; look for a number in a reshape, "
                    "view or expand where x.shape[0] or -1 is meant, or for a sum over all rows, or give the signature "
                    "max_batch_size 1"
                )


def _keep_apart(program: ONNXProgram) -> None:
    """Rename values inside the graph that are called as an input or output is.

    The exporter calls a value after its operator, `embedding`, and gives inputs and outputs their names afterwards.
    """
    graph = program.model.graph
    outside = [*graph.inputs, *graph.outputs]
    names = {value.name for value in outside}
    values = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    taken = names | {value.name for value in values}
    for value in values:
        if value.name in names and not any(value is other for other in outside):
            value.name = next(name for count in itertools.count(1) if (name := f"{value.name}_{count}") not in taken)
            taken.add(value.name)


def _forget_paths(program: ONNXProgram) -> None:
    """Remove the source lines and paths that the exporter noted on every node."""
    functions = program.model.functions.values()
    for node in itertools.chain(program.model.graph.all_nodes(), *(function.all_nodes() for function in functions)):
        node.metadata_props.pop(_STACK_TRACE, None)
