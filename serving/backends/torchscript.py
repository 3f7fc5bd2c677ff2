"""TorchScript, through libtorch on the CPU or a GPU.

A TorchScript file is code. It is opened only after its checksum has been found to be the one export wrote, or with the
operator's consent.
"""

import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from models.tensors import Array, Signature, Tensors
from serving.backends.arithmetic import check_precision, in_precision
from serving.backends.base import AS_EXPORTED, ArtifactFile, BackendError, Execution, Session, reason_of
from serving.backends.cuda import CudaOpener, check_device, devices
from serving.backends.declared import Declared
from serving.backends.devices import CPU


class TorchScriptBackend:
    """Opens `model.pt`. Inputs go in by position and outputs come as a tuple, both in the signature's order."""

    platform = "pytorch_torchscript"

    def __init__(self) -> None:
        # Silencing a warning changes what all threads share, and two that did it at once would undo each other's.
        self._opening = threading.Lock()
        self._cuda = CudaOpener()

    def has_device(self, device: str) -> bool:
        """Tell whether torch sees a device."""
        return device in devices()

    def declared(self, artifact: ArtifactFile) -> Declared | None:
        """Return None: a TorchScript file names no outputs and no shapes, and is not opened to look for more."""
        return None

    def open(
        self, artifact: ArtifactFile, signature: Signature, *, device: str, threads: int, execution: Execution = AS_EXPORTED
    ) -> Session:
        """Open an artifact on a device; raise BackendError if libtorch refuses it or the device is not there."""
        device = check_device(device)
        check_precision(execution.precision, device)
        try:
            data = io.BytesIO(artifact.read_bytes())
            with self._opening, warnings.catch_warnings():
                # Known: torch.export's format is the successor. Where warnings are errors this one would close the door.
                warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
                module = torch.jit.load(data, map_location=device)  # type: ignore[no-untyped-call]
            module = module.eval()
        except Exception as error:  # libtorch raises RuntimeError, zipfile's errors and others
            raise BackendError(f"{artifact.name}: libtorch cannot open it: {reason_of(error, artifact)}") from error
        called = in_precision(module, execution.precision, device, signature.outputs)
        if device == CPU:
            return TorchScriptSession(called, signature, threads)
        return self._cuda.open(_as_it_is(called), signature, device=device, execution=execution, name=artifact.name)


def _as_it_is(module: Any) -> Callable[..., Any]:  # Any: torch.jit is not typed
    """Return a module that is run operator by operator.

    The compiler behind TorchScript profiles the first runs and then writes GPU kernels, again for shapes that are new to
    it: in the middle of serving, and for answers that may differ from those that were replayed. A recording needs none.
    """

    def run(*given: torch.Tensor) -> Any:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module(*given)

    return run


class TorchScriptSession:
    """One loaded module."""

    def __init__(self, module: Any, signature: Signature, threads: int) -> None:  # Any: torch.jit is not typed
        self._module = module
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._threads = threads
        self._caller: int | None = None

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return fresh memory."""
        spec = next(spec for spec in self._inputs if spec.name == name)
        return np.empty(shape, spec.dtype)

    def run(self, inputs: Tensors) -> Tensors:
        """Execute in inference mode; libtorch releases the GIL while it computes."""
        if self._caller != threading.get_ident():
            # torch counts its threads per calling thread (OpenMP does), so it is told in the thread that runs.
            torch.set_num_threads(self._threads)
            self._caller = threading.get_ident()
        with torch.inference_mode():
            # A view on the bytes of a request is read-only, which torch cannot express: such an input is copied.
            arrays = (inputs[spec.name] for spec in self._inputs)
            given = [torch.from_numpy(array if array.flags.writeable else array.copy()) for array in arrays]
            results = self._module(*given)
        if isinstance(results, torch.Tensor):  # export writes tuples; others return a lone tensor as it is
            results = (results,)
        return {spec.name: result.numpy() for spec, result in zip(self._outputs, results, strict=True)}

    def close(self) -> None:
        """Drop the module and its weights."""
        del self._module
