"""ONNX Runtime, on the CPU or (onnx_cuda.py) a GPU.

One session per instance, its threads counted by the model configuration: ONNX Runtime's own default, a pool as wide as
the machine for every session, makes several instances fight for the same cores.
"""

import ctypes
import math
import os
from typing import Any

import numpy as np
import onnxruntime

from models.tensors import Array, Signature, Tensors, TensorSpec
from serving.backends.base import AS_EXPORTED, ArtifactFile, BackendError, Execution, Session, reason_of
from serving.backends.declared import Declared, DeclaredTensor
from serving.backends.devices import CPU
from serving.backends.onnx_cuda import CUDA_PROVIDER, BoundSession, check_device, check_execution, has_device, providers_of
from serving.backends.onnx_steady import is_steady

#: onnx.TensorProto.BFLOAT16
_ONNX_BFLOAT16 = 16

#: The runtime's names of the element types it shares with the protocol.
_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
}

#: Errors and worse; below that the runtime writes to standard error on its own, past our log.
_LOG_ERRORS = 3


class OnnxBackend:
    """Opens `model.onnx`."""

    platform = "onnx_onnxv1"

    def has_device(self, device: str) -> bool:
        """Tell whether this ONNX Runtime has a provider for a device."""
        return has_device(device, onnxruntime.get_available_providers())

    def declared(self, artifact: ArtifactFile) -> Declared:
        """Return the inputs and outputs of the graph; raise BackendError for a file or a type that cannot be served."""
        options = _options(threads=1)
        # It is opened to be looked at: the time that optimising takes would be spent for nothing.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = _opened(artifact, options)
        return Declared(
            tuple(_declared_tensor(artifact, "input", node) for node in session.get_inputs()),
            tuple(_declared_tensor(artifact, "output", node) for node in session.get_outputs()),
        )

    def open(
        self, artifact: ArtifactFile, signature: Signature, *, device: str, threads: int, execution: Execution = AS_EXPORTED
    ) -> Session:
        """Open an artifact on a device; raise BackendError if the runtime refuses it or its names are not the signature."""
        device = check_device(device, onnxruntime.get_available_providers(), version=onnxruntime.__version__)
        check_execution(execution, device)
        session = _opened(artifact, _options(threads=threads), device=device, execution=execution)
        steady = device == CPU and is_steady(artifact.read_bytes())
        for kind, specs, found in (
            ("inputs", signature.inputs, session.get_inputs()),
            ("outputs", signature.outputs, session.get_outputs()),
        ):
            expected, names = sorted(spec.name for spec in specs), sorted(node.name for node in found)
            if expected != names:
                raise BackendError(f"{artifact.name}: {kind}: expected {expected}, found {names}")
        if device != CPU and BoundSession.takes(signature):
            return BoundSession(session, signature)
        return OnnxSession(session, signature, steady=steady)


class OnnxSession:
    """One ONNX Runtime session."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature, *, steady: bool = False) -> None:
        self.steady = steady
        self._session = session
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = {spec.name: spec for spec in signature.outputs}
        brain = any(spec.datatype == "BF16" for spec in (*signature.inputs, *signature.outputs))
        self._run = self._run_values if brain else self._run_arrays

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return fresh memory: for the small batches of a CPU that is as fast as keeping it."""
        return np.empty(shape, self._inputs[name].dtype)

    def run(self, inputs: Tensors) -> Tensors:
        """Execute; the runtime releases the GIL while it computes and gives outputs that are ours."""
        return self._run(inputs)

    def close(self) -> None:
        """Drop the session, and with it its memory and threads."""
        del self._session

    def _run_arrays(self, inputs: Tensors) -> Tensors:
        return dict(zip(self._outputs, self._session.run(list(self._outputs), inputs), strict=True))

    def _run_values(self, inputs: Tensors) -> Tensors:
        """Execute a graph with BF16 somewhere, which numpy lacks: its 16 bits go in and come out as uint16."""
        values = {name: _to_value(self._inputs[name], array) for name, array in inputs.items()}
        results = self._session.run_with_ort_values(list(self._outputs), values)
        return {name: _to_array(spec, value) for (name, spec), value in zip(self._outputs.items(), results, strict=True)}


def _options(*, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    # The level after this one, the default, rewrites nothing but float16, and crashes the process on some such graphs:
    # a transformer's layer of 16 bits does it in ONNX Runtime 1.32.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT
    # A thread that spins while it waits for work burns a core when nobody asks anything.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in a file beside the artifact have no checksum: there is no folder in which they could be found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _opened(
    artifact: ArtifactFile, options: onnxruntime.SessionOptions, *, device: str = CPU, execution: Execution = AS_EXPORTED
) -> onnxruntime.InferenceSession:
    providers = providers_of(device, execution)
    try:
        session = onnxruntime.InferenceSession(artifact.read_bytes(), options, providers=providers)
    except Exception as error:  # the runtime has no common base for its errors
        raise BackendError(f"{artifact.name}: ONNX Runtime cannot open it: {reason_of(error, artifact)}") from error
    if device != CPU and CUDA_PROVIDER not in session.get_providers():
        # A provider that cannot start, for want of the GPU or of a library, is left out with a message to standard error.
        found = ", ".join(session.get_providers())
        raise BackendError(
            f"device: expected {device!r} to be usable by ONNX Runtime, found {found}: no such GPU, or no CUDA libraries"
        )
    return session


def _declared_tensor(artifact: ArtifactFile, kind: str, node: Any) -> DeclaredTensor:  # Any: the runtime is not typed
    """Read one input or output of a graph. An axis without a length, or with a negative one, is free."""
    element = node.type.removeprefix("tensor(").removesuffix(")")
    if element not in _DATATYPES or node.type != f"tensor({element})":
        expected = f"a tensor of {', '.join(_DATATYPES)}"
        raise BackendError(f"{artifact.name}: {kind} {node.name!r}: expected {expected}, found {node.type}")
    free = (None if axis == "" or (isinstance(axis, int) and axis < 0) else axis for axis in node.shape)
    return DeclaredTensor(node.name, _DATATYPES[element], tuple(free))


def _to_value(spec: TensorSpec, array: Array) -> onnxruntime.OrtValue:
    if spec.datatype != "BF16":
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _ONNX_BFLOAT16)


def _to_array(spec: TensorSpec, value: onnxruntime.OrtValue) -> Array:
    if spec.datatype != "BF16":
        result: Array = value.numpy()
        return result
    shape = tuple(value.shape())
    count = math.prod(shape)
    # The memory is the runtime's and goes with `value`, so it is copied out.
    memory = (ctypes.c_uint16 * count).from_address(value.data_ptr()) if count else b""
    return np.frombuffer(memory, np.uint16).reshape(shape).copy()
