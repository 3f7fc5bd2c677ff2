"""Exported programs: the eager module through torch.export into `model.pt2`, TorchScript's successor.

Nothing in the file runs when it is opened: sample inputs, guards and notes, which torch saves as pickles and as Python, are
left out, and the rules of `models/program.py`, by which serving refuses such files, are held here first.
"""

import io
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2
from torch.fx import GraphModule

from export.exporter import ExportError, ExportSource, Run, first_line
from export.mutation import refuse_writing
from export.quiet import quiet
from export.refusal import refusal
from export.threads import so_many_threads
from models import program as rules
from models.tensors import Array, Signature, Tensors, TensorSpec


class ExportedProgramExporter:
    """eager module → model.pt2"""

    format = "exported_program"
    filename = "model.pt2"

    def export(self, source: ExportSource, path: Path) -> None:
        """Export the module with its axes free, forget what is no part of it, and save it."""
        buffer = io.BytesIO()
        try:
            with quiet(), torch.no_grad():
                refuse_writing(source)
                program = _program(source)
                _forget(program)
                torch.export.save(program, buffer)
            _check(buffer)
        except rules.ProgramError as error:
            raise ExportError(f"{self.format}: no server would open the file: {error}") from error
        except ExportError as error:
            raise ExportError(f"{self.format}: {error}") from error
        except Exception as error:
            raise ExportError(f"{self.format}: the module cannot be exported: {refusal(error, source)}") from error
        path.write_bytes(buffer.getbuffer())

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load as serving does; outputs are named by their place in the signature, for the file does not name them."""
        try:
            buffer = io.BytesIO(path.read_bytes())
            with quiet():
                _check(buffer)
                module = load_pt2(buffer).exported_programs["model"].module()
        except Exception as error:
            raise ExportError(f"{self.format}: cannot open {path.name}: {first_line(error)}") from error
        names = [spec.name for spec in signature.outputs]

        def run(inputs: Tensors) -> dict[str, Array]:
            tensors = [torch.from_numpy(inputs[spec.name].copy()) for spec in signature.inputs]
            with so_many_threads(threads), torch.inference_mode():
                outputs = module(*tensors)
            return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

        return run


def _program(source: ExportSource) -> ExportedProgram:
    signature = source.signature
    shapes = tuple(_free_axes(spec, signature) for spec in signature.inputs)
    # Not strict: the module's Python runs as it is, and only what it does to tensors is noted.
    return torch.export.export(source.module, source.example(), dynamic_shapes=shapes, strict=False)


def _free_axes(spec: TensorSpec, signature: Signature) -> dict[int, object]:
    """Return which axes of an input are free. torch finds out which of them must be equal; a fixed one is an error."""
    first = 1 if signature.batched else 0
    axes: dict[int, object] = {axis: Dim.DYNAMIC for axis, length in enumerate(spec.shape, start=first) if length is None}
    return {0: Dim.DYNAMIC, **axes} if signature.max_batch_size > 1 else axes


def _forget(program: ExportedProgram) -> None:
    """Remove the example, which torch would pickle, guards, which are Python, and source lines and paths of this machine."""
    program.example_inputs = None
    program._guards_code = []
    for part in program.graph_module.modules():
        if isinstance(part, GraphModule):
            part.meta.clear()
            for node in part.graph.nodes:
                node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}


def _check(buffer: io.BytesIO) -> None:
    reader = PT2ArchiveReader(buffer)
    rules.check(reader.get_file_names(), reader.read_bytes)
    buffer.seek(0)
