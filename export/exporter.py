"""Exporters: each turns the eager module into a file of one format, and opens such a file as a stranger would.

A format is one file in this folder and one line in FORMATS. What an exporter writes is believed by nobody: `parity.py`
opens the file and compares.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.tensors import Array, Signature, SignatureError, Tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

#: An opened artifact, or the eager module: inputs by name in, outputs by name out.
Run = Callable[[Tensors], dict[str, Array]]

#: Rows of the example that exporters trace the module with: with 1 row they would take the batch axis for a constant
#: or for an axis to broadcast, and 2 is the length of many other axes.
EXAMPLE_ROWS = 3

#: Datatypes that have no plain numpy array, so that no eager module could be run on them here.
_UNSUPPORTED = ("BF16", "BYTES")

#: Opsets that can be asked for: torch's translations begin with 18, and the newest operators they use are of 23.
OPSETS = range(18, 24)

#: The ways to TorchScript.
TORCHSCRIPT = ("trace", "script")


class ExportError(Exception):
    """A model or a format could not be exported, opened or measured; one line says which, and why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen of a format.

    opset        the ONNX operator set. 20 is the default of torch 2.13, so the opset its translations are tested with; ONNX
                 Runtime reads it since 1.17. Pinned, so that an upgrade of torch does not silently ask for newer servers
    torchscript  "trace" notes what one run did; "script" compiles the module's Python, with its decisions and loops
    atol, rtol   what floating outputs may differ by, absolute and as a share of the expected value, added up as numpy's
                 allclose does; one alone leaves the other at 0, both None: derived from the eager model's own noise.
                 Decisions stay as they are: equal, save where the derived tolerance makes a tie
    max_drop     how much worse at its task a format of BY_TASK may be, as a share, at the upper end of the 95 % interval
    """

    opset: int = 20
    torchscript: str = "trace"
    atol: float | None = None
    rtol: float | None = None
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        if not OPSETS[0] <= self.opset <= OPSETS[-1]:
            raise ExportError(f"opset: expected {OPSETS[0]} to {OPSETS[-1]}, found {self.opset}")
        if self.torchscript not in TORCHSCRIPT:
            raise ExportError(f"torchscript: expected {' or '.join(TORCHSCRIPT)}, found {self.torchscript!r}")
        for name, value in (("atol", self.atol), ("rtol", self.rtol), ("max_drop", self.max_drop)):
            if value is not None and not 0 <= value < math.inf:  # NaN compares false, so it is refused too
                raise ExportError(f"{name}: expected a finite number, 0 or more, found {value}")


#: What is chosen where nobody chooses.
DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class ExportSource:
    """What an exporter works from.

    `module` is in eval mode, takes the signature's inputs in that order and returns a tuple of its outputs in that order.
    `samples` are real held-out inputs, any number of them, counted by the first axis of every array: rows of the batch
    axis or, under `max_batch_size` 0, whole requests of one shape, stacked. `calibration` are others like them, for formats
    that have to see what activations are like; None where there are no others.
    """

    module: "nn.Module"
    signature: Signature
    samples: Tensors
    options: Options = DEFAULTS
    calibration: Tensors | None = None

    def __post_init__(self) -> None:
        if any(part.training for part in self.module.modules()):
            raise ExportError("module: expected eval mode, found training mode, in which dropout and statistics are at work")
        for spec in (*self.signature.inputs, *self.signature.outputs):
            if spec.datatype in _UNSUPPORTED:
                raise ExportError(f"{spec.name}: expected a datatype that numpy has, found {spec.datatype}")
        if set(self.samples) != {spec.name for spec in self.signature.inputs}:
            raise ExportError(f"samples: expected every input of the signature, found {', '.join(self.samples) or 'none'}")
        rows = {array.shape[:1] for array in self.samples.values()}
        if len(rows) != 1 or rows & {(), (0,)}:
            raise ExportError(f"samples: expected one or more rows, as many in every input, found {_lengths(self.samples)}")
        try:
            for spec in self.signature.inputs:
                array = self.samples[spec.name]
                self.signature.check_tensor(spec, array if self.signature.batched else array[0, ...])
        except SignatureError as error:
            raise ExportError(f"samples: {error}") from None

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(self.samples[self.signature.inputs[0].name])

    def example(self) -> "tuple[Tensor, ...]":
        """Return a few samples as the module's arguments, repeated where there are too few; the caller may write to them.

        Without a batch axis: the first request.
        """
        import numpy as np
        import torch

        arrays = [self.samples[spec.name] for spec in self.signature.inputs]
        if not self.signature.batched:
            return tuple(torch.from_numpy(array[0, ...].copy()) for array in arrays)
        rows = min(EXAMPLE_ROWS, self.signature.max_batch_size)
        return tuple(torch.from_numpy(np.resize(array[:rows], (rows, *array.shape[1:]))) for array in arrays)


class Exporter(Protocol):
    """One format. `filename` is what the artifact is called inside a version: Triton's default name where it has one."""

    format: str
    filename: str

    def export(self, source: ExportSource, path: Path) -> None:
        """Write the artifact; raise ExportError if the format cannot express the module, OSError if the disk refuses."""
        ...

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load the file alone, as serving will, on one CPU thread or more. Raise ExportError where it cannot be loaded."""
        ...


#: Format → where its exporter lives. Imported when asked for, so that a format's packages are needed by it alone.
FORMATS: Mapping[str, str] = {
    "onnx": "export.onnx:OnnxExporter",
    "exported_program": "export.exported_program:ExportedProgramExporter",
    "torchscript": "export.torchscript:TorchScriptExporter",
    "onnx_int8": "export.quantize:OnnxInt8Exporter",
    "onnx_fp16": "export.half:OnnxFp16Exporter",
}

#: Formats that are not the eager model any more, on purpose: judged by what they cost at the model's task (by_task.py).
BY_TASK = frozenset({"onnx_int8", "onnx_fp16"})

#: What is exported unless told otherwise: the format without torch, and the one that every libtorch still loads.
DEFAULT_FORMATS = ("onnx", "torchscript")


def exporter_of(format: str) -> Exporter:
    """Return the exporter of a format; raise ExportError naming those there are, or the package that is missing."""
    if format not in FORMATS:
        raise ExportError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    module, _, name = FORMATS[format].partition(":")
    try:
        exporter: Any = getattr(importlib.import_module(module), name)  # Any: what a module holds is not typed
    except ModuleNotFoundError as error:
        remedy = "install it with: pip install 'sameway[export]'"
        raise ExportError(f"{format}: needs the package {error.name!r}; {remedy}") from error
    found: Exporter = exporter()
    return found


def _lengths(samples: Tensors) -> str:
    return ", ".join(f"{name}: {len(array) if array.ndim else 'no axis'}" for name, array in samples.items())


def first_line(error: BaseException) -> str:
    """Return what an error says first: the exporters' messages run over many lines, the report has room for one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
