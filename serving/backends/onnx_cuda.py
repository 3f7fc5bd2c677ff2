"""ONNX Runtime's CUDA execution provider, by its documented API. It has not been run on a GPU yet.

The runtime makes a stream of its own for every session, so instances compute beside each other. What the provider cannot
compute runs on the CPU provider behind it.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.tensors import Array, Signature, Tensors
from serving.backends.base import BackendError, Execution
from serving.backends.devices import CPU, index_of, missing, normalised

CUDA_PROVIDER, CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"

TF32 = "tf32"

#: What cannot be bound as an array of numbers; the session hands such tensors over one by one, as on the CPU.
_UNBOUND = frozenset({"BYTES", "BF16"})

#: A provider, or one with its options.
Provider = str | tuple[str, dict[str, str]]


def has_device(device: str, available: Sequence[str]) -> bool:
    """Tell whether a runtime with these providers could compute on a device: it does not tell how many GPUs there are."""
    name = normalised(device)
    return name == CPU or (name is not None and CUDA_PROVIDER in available)


def check_device(device: str, available: Sequence[str], *, version: str) -> str:
    """Return the one name of a device; raise BackendError, with the providers that were found, where it cannot be there.

    Whether a GPU has that number is for the runtime to say when a session is opened.
    """
    name = normalised(device)
    if name is not None and has_device(name, available):
        return name
    why = "" if name is None else f"onnxruntime {version} has {', '.join(available)}; onnxruntime-gpu brings {CUDA_PROVIDER}"
    there = (CPU, "cuda:N") if CUDA_PROVIDER in available else (CPU,)
    raise BackendError(missing(device, there, why=why))


def check_execution(execution: Execution, device: str) -> None:
    """Raise BackendError for a precision that the runtime does not have: the 16 bits of a graph are the exporter's."""
    precision = execution.precision
    if precision is None or (precision == TF32 and device != CPU):
        return
    expected = "none on the CPU" if device == CPU else "tf32 or none"
    remedy = "; for 16 bits, export onnx_fp16 and name it as format" if precision != TF32 else ""
    raise BackendError(f"precision: expected {expected} in ONNX Runtime, found {precision!r}{remedy}")


def providers_of(device: str, execution: Execution) -> list[Provider]:
    """Return the providers of a session, the first one that has an operator taking it."""
    if device == CPU:
        return [CPU_PROVIDER]
    options = {
        "device_id": str(index_of(device)),
        # On by default, and then neither the arithmetic of what was exported nor that of the CPU.
        "use_tf32": "1" if execution.precision == TF32 else "0",
        # By what is asked for, not by powers of two: several versions and several processes share a GPU.
        "arena_extend_strategy": "kSameAsRequested",
        # By default every convolution is tried in all ways for every new shape, at the cost of the request that brings it.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    return [(CUDA_PROVIDER, options), CPU_PROVIDER]


class BoundSession:
    """A session whose inputs and outputs are bound: the runtime moves them itself, in the order of its own stream."""

    def __init__(self, session: Any, signature: Signature) -> None:  # Any: the runtime is not typed
        self._session = session
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = [spec.name for spec in signature.outputs]

    @staticmethod
    def takes(signature: Signature) -> bool:
        """Tell whether every tensor can be bound."""
        return not any(spec.datatype in _UNBOUND for spec in (*signature.inputs, *signature.outputs))

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return fresh memory."""
        return np.empty(shape, self._inputs[name].dtype)

    def run(self, inputs: Tensors) -> Tensors:
        """Execute; outputs are ours, as every run binds them anew."""
        binding = self._session.io_binding()
        for name in self._inputs:
            binding.bind_cpu_input(name, np.ascontiguousarray(inputs[name]))
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))

    def close(self) -> None:
        """Drop the session, and with it its memory and threads."""
        del self._session
