"""ONNX Runtime on the CPU.

One session per instance, its threads counted by the model configuration: ONNX Runtime's own default, a pool as wide as
the machine for every session, makes several instances fight for the same cores.
"""

from pathlib import Path

import numpy as np
import onnxruntime

from models.tensors import Array, Signature, Tensors
from serving.backends.base import BackendError, reason_of

#: Errors and worse; below that the runtime writes to standard error on its own, past our log.
_LOG_ERRORS = 3


class OnnxBackend:
    """Opens `model.onnx`."""

    platform = "onnx_onnxv1"

    def open(self, artifact: Path, signature: Signature, *, device: str, threads: int) -> "OnnxSession":
        """Open an artifact on the CPU; raise BackendError if the runtime refuses it or its names are not the signature's."""
        if device != "cpu":
            raise BackendError(f"device: expected 'cpu', found {device!r}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS
        # A thread that spins while it waits for work burns a core when nobody asks anything.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no common base for its errors
            raise BackendError(f"{artifact.name}: ONNX Runtime cannot open it: {reason_of(error, artifact)}") from error
        for kind, specs, found in (
            ("inputs", signature.inputs, session.get_inputs()),
            ("outputs", signature.outputs, session.get_outputs()),
        ):
            expected, names = sorted(spec.name for spec in specs), sorted(node.name for node in found)
            if expected != names:
                raise BackendError(f"{artifact.name}: {kind}: expected {expected}, found {names}")
        return OnnxSession(session, signature)


class OnnxSession:
    """One ONNX Runtime session."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._session = session
        self._outputs = [spec.name for spec in signature.outputs]
        self._dtypes = {spec.name: spec.dtype for spec in signature.inputs}

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return fresh memory: for the small batches of a CPU that is as fast as keeping it."""
        return np.empty(shape, self._dtypes[name])

    def run(self, inputs: Tensors) -> Tensors:
        """Execute; the runtime releases the GIL while it computes and gives outputs that are ours."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def close(self) -> None:
        """Drop the session, and with it its memory and threads."""
        del self._session
