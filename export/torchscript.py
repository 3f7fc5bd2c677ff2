"""TorchScript: the eager module traced or scripted into `model.pt`, which libtorch runs without Python.

A trace writes down what one run did. That is safe here because parity runs the file on other data and at other batch
sizes than it was traced with. A script is the module's Python compiled, decisions and loops included, as far as TorchScript
knows the language. Upstream calls both deprecated in favour of torch.export; they still load everywhere.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from export.exporter import ExportError, ExportSource, Run, first_line
from export.mutation import refuse_writing
from export.named_module import NamedModule
from export.refusal import refusal
from export.threads import so_many_threads
from models.tensors import Array, Signature, Tensors


class TorchScriptExporter:
    """eager module → model.pt"""

    format = "torchscript"
    filename = "model.pt"

    def export(self, source: ExportSource, path: Path) -> None:
        """Trace or script, freeze and save the module."""
        way = source.options.torchscript
        buffer = io.BytesIO()
        try:
            with quiet(), torch.no_grad():
                refuse_writing(source)
                compiled = _scripted(source) if way == "script" else _traced(source)
                # Freezing turns weights into constants and folds batch normalisation. It needs eval mode, which is given.
                torch.jit.save(torch.jit.freeze(compiled), buffer)
        except ExportError as error:
            raise ExportError(f"torchscript: {error}") from error
        except Exception as error:
            verb = "scripted" if way == "script" else "traced"
            raise ExportError(f"torchscript: the module cannot be {verb}: {refusal(error, source)}") from error
        # Written here and not by torch, which says "failed writing file" where the system says that the disk is full.
        path.write_bytes(buffer.getbuffer())

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load with torch.jit.load; outputs are named by their place in the signature, for the file does not name them."""
        try:
            with quiet():
                module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ExportError(f"torchscript: cannot open {path.name}: {first_line(error)}") from error
        names = [spec.name for spec in signature.outputs]

        def run(inputs: Tensors) -> dict[str, Array]:
            tensors = [torch.from_numpy(inputs[spec.name].copy()) for spec in signature.inputs]
            try:
                with so_many_threads(threads), torch.inference_mode():
                    outputs = module(*tensors)
            except RuntimeError as error:
                # libtorch prints the whole traced program; what went wrong is the last line.
                raise RuntimeError(str(error).strip().rpartition("\n")[2].removeprefix("RuntimeError: ")) from error
            return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

        return run


# Any: torch.jit is not typed.
def _traced(source: ExportSource) -> Any:
    # check_trace would run the module twice on this one example; parity runs the file on every sample.
    return torch.jit.trace(source.module, source.example(), check_trace=False)  # type: ignore[no-untyped-call]


def _scripted(source: ExportSource) -> Any:
    try:
        if isinstance(source.module, NamedModule):
            # The module compiled, and one call of it traced: a trace keeps what compiled parts decide.
            return _traced(replace(source, module=source.module.scripted()))
        return torch.jit.script(source.module)
    except Exception as error:
        # The compiler says what it does not know, then shows the source with paths of this machine, over many lines.
        raise ExportError(f"the module cannot be scripted: {first_line(error)}; try --torchscript trace") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what is known and decided, and nothing else."""
    with warnings.catch_warnings():
        # Known: the docs say so, and `exported_program` is the successor.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        # The tracer suspects each Python decision on a tensor, a shape assertion too; parity knows which one mattered.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
