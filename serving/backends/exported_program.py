"""Exported programs (`torch.export`), on the CPU or a GPU.

torch's loader can run code: it unpickles, evaluates texts and loads libraries where a file has them. So a file is opened
only if it is a published version's, with the checksum of its manifest, and holds none of that (models/program.py).
"""

import io
import threading
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive import PT2ArchiveReader

# Not torch.export.load: where this function fails, that one goes on to an older format, which is pickles.
from torch.export.pt2_archive._package import load_pt2

from models import program as rules
from models.tensors import Array, Signature, Tensors
from serving.backends.arithmetic import CASTS, check_precision, in_precision, without_type_checks
from serving.backends.base import AS_EXPORTED, ArtifactFile, BackendError, Execution, Session, reason_of
from serving.backends.cuda import CudaOpener, check_device, devices
from serving.backends.declared import Declared
from serving.backends.devices import CPU

#: torch loads one program at a time in a process, and fails where two threads try. Its state is global, so is this lock.
_LOADING = threading.Lock()


class ExportedProgramBackend:
    """Opens `model.pt2`. Inputs go in by position and outputs come as a tuple, both in the signature's order."""

    platform = "pytorch_exportedprogram"

    def __init__(self) -> None:
        self._cuda = CudaOpener()

    def has_device(self, device: str) -> bool:
        """Tell whether torch sees a device."""
        return device in devices()

    def declared(self, artifact: ArtifactFile) -> Declared | None:
        """Return None: without a manifest no such file is opened, so there is nobody to ask."""
        return None

    def open(
        self, artifact: ArtifactFile, signature: Signature, *, device: str, threads: int, execution: Execution = AS_EXPORTED
    ) -> Session:
        """Open an artifact on a device; raise BackendError if it could run code, or torch refuses it or lacks the device."""
        device = check_device(device)
        check_precision(execution.precision, device)
        try:
            buffer = io.BytesIO(artifact.read_bytes())
            reader = PT2ArchiveReader(buffer)
            rules.check(reader.get_file_names(), reader.read_bytes)
            buffer.seek(0)
            with _LOADING:
                program = load_pt2(buffer).exported_programs["model"]
                if device != CPU:
                    # Weights, and the devices that are written into the graph: where zeros are made, what is asserted.
                    program = move_to_device_pass(program, device)
                module = program.module()
        except rules.ProgramError as error:
            raise BackendError(f"{artifact.name}: {error}") from error
        except Exception as error:  # torch raises RuntimeError, AssertionError, errors of its own and others
            raise BackendError(f"{artifact.name}: torch.export cannot open it: {reason_of(error, artifact)}") from error
        if execution.precision in CASTS:
            module = without_type_checks(module)
        called = in_precision(module, execution.precision, device, signature.outputs)
        if device == CPU:
            return ExportedProgramSession(called, signature, threads)
        return self._cuda.open(called, signature, device=device, execution=execution, name=artifact.name)


class ExportedProgramSession:
    """One loaded program."""

    def __init__(self, module: Any, signature: Signature, threads: int) -> None:  # Any: its call takes what its graph says
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
        """Execute in inference mode: Python from operator to operator, each of which releases the GIL as it computes."""
        if self._caller != threading.get_ident():
            # torch counts its threads per calling thread (OpenMP does), so it is told in the thread that runs.
            torch.set_num_threads(self._threads)
            self._caller = threading.get_ident()
        with torch.inference_mode():
            # A copy, unless it is ours to write to: torch cannot express a read-only view, and a program may write.
            arrays = (inputs[spec.name] for spec in self._inputs)
            given = [torch.from_numpy(array if array.flags.writeable else array.copy()) for array in arrays]
            results = self._module(*given)
        return {spec.name: result.numpy() for spec, result in zip(self._outputs, results, strict=True)}

    def close(self) -> None:
        """Drop the program and its weights."""
        del self._module
