"""What a backend is, and the table that says which one opens which format.

A backend is one file here and one line in the table; its runtime is imported when the first artifact of its format is
opened, so that serving ONNX never imports torch.
"""

import importlib
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from models.profiles import PREFERENCE as PREFERENCE
from models.tensors import Array, Signature, Tensors
from serving.backends.declared import Declared


class BackendError(Exception):
    """An artifact cannot be opened here; the message says why, and what to install where that is the reason."""


class DeviceLost(Exception):
    """A device computes nothing any more in this process, whoever asks: as a GPU after an access outside of its memory."""


class ArtifactFile(Protocol):
    """The file of an artifact: a `Path` is one, and so are `ArtifactBytes`."""

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        ...

    def read_bytes(self) -> bytes:
        """Return what is in it."""
        ...


@dataclass(frozen=True, slots=True)
class ArtifactBytes:
    """A file that has been read already: what was checksummed is what is opened."""

    name: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return what was in the file when it was read."""
        return self.data


@dataclass(frozen=True, slots=True)
class Execution:
    """How a session computes, besides where; what a backend does not have is a BackendError.

    precision      the arithmetic of what was exported in FP32: None as exported, "tf32", "fp16" or "bf16"
    batch_buckets  on a GPU, the batch sizes that have a CUDA graph each: None 1, 2, 4, …, an empty tuple no graphs at all
    """

    precision: str | None = None
    batch_buckets: tuple[int, ...] | None = None


#: As exported: what a session does unless a configuration says otherwise.
AS_EXPORTED = Execution()


class Session(Protocol):
    """One opened artifact, used by one thread at a time."""

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return memory for a joined input; the session may hand it out again once `run` has returned."""
        ...

    def run(self, inputs: Tensors) -> Tensors:
        """Execute, without the GIL while computing. Never writes to inputs; outputs belong to the caller for good."""
        ...

    def close(self) -> None:
        """Free what the runtime holds. No call may follow."""
        ...


@runtime_checkable
class SteadySession(Session, Protocol):
    """A session that knows whether what a batch takes depends on its shape alone. Of one that does not say so, it may not.

    Nobody else waits for a batch that takes longer than it did for other values: it is run in a thread of its own.
    """

    steady: bool


@runtime_checkable
class PipelinedSession(Session, Protocol):
    """A session that takes the next batch while it computes one. Batches end in the order in which they began.

    `run` is `begin` and `end`, for whoever has no batch under way. Still one thread at a time, which never waits but in
    `end`. `buckets` are the batch sizes that are computed each in a way of its own: each is to be replayed.
    """

    #: How many batches may be under way. With as many begun, `end` is due before `allocate` or `begin`.
    depth: int
    buckets: tuple[int, ...]

    def begin(self, inputs: Tensors) -> None:
        """Send a batch on its way, and return. Inputs are not needed any more; where this raises nothing has begun."""
        ...

    def end(self) -> Tensors:
        """Wait for the oldest batch and return its outputs, the caller's for good. It has ended where this raises, too."""
        ...


class Backend(Protocol):
    """Opens artifacts. `platform` is the protocol's name for what it runs."""

    platform: str

    def has_device(self, device: str) -> bool:
        """Tell whether this runtime could compute on a device, as far as it knows before it opens something."""
        ...

    def declared(self, artifact: ArtifactFile) -> Declared | None:
        """Return what the file says of its own inputs and outputs, None where its format does not; raise BackendError."""
        ...

    def open(
        self, artifact: ArtifactFile, signature: Signature, *, device: str, threads: int, execution: Execution = AS_EXPORTED
    ) -> Session:
        """Open an artifact that has been checksummed; raise BackendError, for a device that is not there too."""
        ...


#: Format → where its backend is, and the extra that brings its runtime.
BACKENDS = {
    "onnx": ("serving.backends.onnx", "OnnxBackend", None),
    "exported_program": ("serving.backends.exported_program", "ExportedProgramBackend", "torch"),
    "onnx_int8": ("serving.backends.onnx", "OnnxBackend", None),
    "onnx_fp16": ("serving.backends.onnx", "OnnxBackend", None),
    "torchscript": ("serving.backends.torchscript", "TorchScriptBackend", "torch"),
}


def reason_of(error: Exception, artifact: ArtifactFile) -> str:
    """Return the first line of a runtime's message without the folders of this machine, as clients may read it."""
    lines = str(error).replace(str(artifact), artifact.name).splitlines()
    return lines[0] if lines else type(error).__name__


def backend_for(format: str) -> Backend:
    """Return the backend that opens a format; raise BackendError for an unknown one or a missing runtime."""
    if format not in BACKENDS:
        raise BackendError(f"format: expected one of {', '.join(BACKENDS)}, found {format!r}")
    module, name, extra = BACKENDS[format]
    try:
        backend: Backend = getattr(importlib.import_module(module), name)()
    except ModuleNotFoundError as error:
        remedy = f"; install it with: pip install 'sameway[{extra}]'" if extra else ""
        raise BackendError(f"format {format!r} needs the package {error.name!r}{remedy}") from error
    return backend
