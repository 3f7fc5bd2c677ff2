"""What a saved file computes before the last step of an output, got out of the file itself: a copy of its graph is asked.

Each format has its own graph. Where the last step is not found in it, as other operators stand in its place, or the file
cannot be taken apart, there is nothing to look at, and that is all that is said.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.exporter import Run, first_line
from models.tensors import Array, Signature, Tensors


@dataclass(frozen=True, slots=True)
class Inner:
    """The outputs whose last step was found, and how to run the file up to there: values by the output's name."""

    outputs: tuple[str, ...]
    run: Run


class NotFound(Exception):
    """A file does not let itself be looked into; the message says why."""


def inner(path: Path, signature: Signature, steps: Mapping[str, str]) -> Inner:
    """Open a file up to the last steps of these outputs (softmax, log_softmax, sigmoid, argmax); raise NotFound.

    Before an argmax, the axis of the candidates comes last, as `decisions.py` has it.
    """
    opened = {".onnx": _onnx, ".pt2": _exported_program, ".pt": _torchscript}.get(path.suffix)
    if opened is None:
        raise NotFound(f"{path.suffix} files cannot be looked into")
    try:
        return opened(path, signature, steps)
    except NotFound:
        raise
    except Exception as error:  # parsers and torch's graphs raise whatever they like
        raise NotFound(first_line(error)) from error


def _onnx(path: Path, signature: Signature, steps: Mapping[str, str]) -> Inner:
    import onnx
    import onnxruntime

    names = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "sigmoid": "Sigmoid", "argmax": "ArgMax"}
    model = onnx.load(path)
    made = {output: node for node in model.graph.node for output in node.output}
    found, axes = {}, {}
    for output, step in steps.items():
        node = made.get(output)
        if node is None or node.op_type != names[step]:
            continue
        found[output] = node.input[0]
        if step == "argmax":
            axes[output] = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    known = {value.name for value in model.graph.output}
    for name in dict.fromkeys(found.values()):
        if name not in known:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Tensors) -> dict[str, Array]:
        return dict(zip(found, session.run(list(found.values()), dict(inputs)), strict=True))

    return _checked(found, run, axes)


def _exported_program(path: Path, signature: Signature, steps: Mapping[str, str]) -> Inner:
    import torch
    from torch.export.pt2_archive._package import load_pt2
    from torch.fx import GraphModule, Interpreter, Node

    from export.quiet import quiet
    from export.threads import one_thread

    with quiet():
        module: Any = load_pt2(io.BytesIO(path.read_bytes())).exported_programs["model"].module()
    if not isinstance(module, GraphModule):
        raise NotFound("its module is no graph")
    (results,) = next(node for node in module.graph.nodes if node.op == "output").args
    found: dict[str, Node] = {}
    axes: dict[str, int] = {}
    for spec, result in zip(signature.outputs, results, strict=True):
        step = steps.get(spec.name)
        if (
            step is not None
            and isinstance(result, Node)
            and str(result.target).startswith((f"aten.{step}.", f"aten._{step}."))
        ):
            given = result.args[0]
            if isinstance(given, Node):
                found[spec.name] = given
            if step == "argmax":
                axes[spec.name] = _axis(result.args[1] if len(result.args) > 1 else None)

    class Watched(Interpreter):
        """Runs the graph and keeps what is asked for."""

        def __init__(self) -> None:
            super().__init__(module)
            self.kept: dict[Node, Any] = {}

        def run_node(self, n: Node) -> Any:  # Any: a node gives whatever its operator does
            result = super().run_node(n)
            if n in found.values():
                self.kept[n] = result
            return result

    def run(inputs: Tensors) -> dict[str, Array]:
        watched = Watched()
        with one_thread(), torch.inference_mode():
            watched.run(*(torch.from_numpy(inputs[spec.name].copy()) for spec in signature.inputs))
        return {name: watched.kept[node].numpy() for name, node in found.items()}

    return _checked(found, run, axes)


def _torchscript(path: Path, signature: Signature, steps: Mapping[str, str]) -> Inner:
    import torch

    from export.threads import one_thread
    from export.torchscript import quiet

    with quiet():
        module: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        graph: Any = module.graph.copy()
    (result,) = graph.outputs()
    if result.node().kind() != "prim::TupleConstruct":
        raise NotFound("its outputs are no tuple made in the graph")
    found, axes = {}, {}
    for spec, value in zip(signature.outputs, list(result.node().inputs()), strict=True):
        step = steps.get(spec.name)
        if step is not None and value.node().kind() == f"aten::{step}":
            given = list(value.node().inputs())
            found[spec.name] = given[0]
            if step == "argmax":
                axes[spec.name] = _axis(given[1].toIValue())
    if not found:
        raise NotFound("the last step is not in its graph")
    # Frozen, so that weights are constants of the graph and the module itself is not asked.
    graph.eraseOutput(0)
    graph.registerOutput(_together(graph, list(found.values())))
    graph.eraseInput(0)
    function: Any = torch._C._create_function_from_graph("before_the_last_step", graph)

    def run(inputs: Tensors) -> dict[str, Array]:
        with one_thread(), torch.inference_mode():
            results = function(*(torch.from_numpy(inputs[spec.name].copy()) for spec in signature.inputs))
        tensors = results if len(found) > 1 else (results,)
        return {name: tensor.numpy() for name, tensor in zip(found, tensors, strict=True)}

    return _checked(found, run, axes)


def _together(graph: Any, values: list[Any]) -> Any:  # Any: torch's own graphs are not typed
    """Return one value of a TorchScript graph that holds all these: a function has one result, which may be a tuple."""
    import torch

    if len(values) == 1:
        return values[0]
    node = graph.appendNode(graph.create("prim::TupleConstruct", values, 1))
    node.output().setType(torch._C.TupleType([value.type() for value in values]))
    return node.output()


def _axis(axis: object) -> int:
    """Return the axis of an argmax; raise NotFound for one over all axes at once."""
    if not isinstance(axis, int):
        raise NotFound("its argmax is not along one axis")
    return axis


def _checked(found: Mapping[str, object], run: Run, axes: Mapping[str, int]) -> Inner:
    if not found:
        raise NotFound("the last step is not in its graph")

    def moved(inputs: Tensors) -> dict[str, Array]:
        values = run(inputs)
        return {name: np.moveaxis(array, axes[name], -1) if name in axes else array for name, array in values.items()}

    return Inner(tuple(found), moved)
