"""What a backend is, and the table that says which one opens which format.

A backend is one file here and one line in the table; its runtime is imported when the first artifact of its format is
opened, so that serving ONNX never imports torch.
"""

import importlib
from pathlib import Path
from typing import Protocol

from models.tensors import Array, Signature, Tensors


class BackendError(Exception):
    """An artifact cannot be opened here; the message says why, and what to install where that is the reason."""


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


class Backend(Protocol):
    """Opens artifacts. `platform` is the protocol's name for what it runs."""

    platform: str

    def open(self, artifact: Path, signature: Signature, *, device: str, threads: int) -> Session:
        """Open an artifact that has been checksummed; raise BackendError."""
        ...


#: Format → where its backend is, and the extra that brings its runtime.
BACKENDS = {
    "onnx": ("serving.backends.onnx", "OnnxBackend", None),
    "torchscript": ("serving.backends.torchscript", "TorchScriptBackend", "torch"),
}

#: Which artifact of a version is opened when its model configuration names none.
PREFERENCE = ("onnx", "torchscript")


def reason_of(error: Exception, artifact: Path) -> str:
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
