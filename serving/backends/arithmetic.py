"""The arithmetic of a torch model: as exported, or faster and less exact where the configuration says so.

"fp16" and "bf16" let torch cast what gains from it, operator by operator (autocast): weights and what needs range stay in
FP32, and outputs are what the signature says. "tf32" rounds the inputs of multiplications on a GPU, and is a switch of the
whole process: whoever launches work holds it in the position that he needs.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule

from models.tensors import TensorSpec
from serving.backends.base import BackendError
from serving.backends.devices import CPU
from serving.backends.staging import TORCH_DTYPES

TF32 = "tf32"
#: Precision → what autocast casts to.
CASTS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def check_precision(precision: str | None, device: str) -> None:
    """Raise BackendError for a precision that torch does not have on a device."""
    known = (*CASTS, *(() if device == CPU else (TF32,)))
    if precision is not None and precision not in known:
        raise BackendError(f"precision: expected one of {', '.join(known)} on {device}, or none, found {precision!r}")


def in_precision(module: Any, precision: str | None, device: str, outputs: Sequence[TensorSpec]) -> Any:
    """Return what is called in place of a module, itself where it is computed as exported or in TF32.

    Any: torch does not type modules; what goes in and out are tensors.
    """
    if precision not in CASTS:
        return module
    kind, dtype = device.partition(":")[0], CASTS[precision]

    def run(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # Without its cache: that would keep casts of the weights alive across a recording, which must own what it reads.
        with torch.autocast(kind, dtype=dtype, cache_enabled=False):
            results = module(*given)
            results = (results,) if isinstance(results, torch.Tensor) else results
        return tuple(
            result.to(TORCH_DTYPES[spec.datatype]) if result.is_floating_point() else result
            for spec, result in zip(outputs, results, strict=True)
        )

    return run


def without_type_checks(module: GraphModule) -> GraphModule:
    """Remove an exported program's assertions on what lies between its operators: cast, that has other types."""
    for part in module.modules():
        if not isinstance(part, GraphModule):
            continue
        for node in list(part.graph.nodes):
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                part.graph.erase_node(node)
        part.recompile()
    return module


class Switch:
    """A switch of the whole process, which any number may hold in the same position at once.

    Who needs the other position waits until nobody holds it in this one; whoever comes after him waits behind him, so that
    neither position can starve the other.
    """

    def __init__(self, turn: Callable[[bool], None]) -> None:
        self._turn = turn
        self._position: bool | None = None
        self._holders = 0
        self._queue = threading.Lock()
        self._free = threading.Condition()

    @contextmanager
    def held(self, position: bool) -> Iterator[None]:
        """Hold it in a position for as long as the block takes."""
        with self._queue, self._free:
            while self._holders and self._position != position:
                self._free.wait()
            if self._position != position:
                self._turn(position)
                self._position = position
            self._holders += 1
        try:
            yield
        finally:
            with self._free:
                self._holders -= 1
                self._free.notify_all()


def turn_tf32(on: bool) -> None:
    """Allow TF32 in matrix multiplications, convolutions and recurrent layers, or forbid it: cuDNN's default allows it."""
    matmul: Any = torch.backends.cuda.matmul  # Any: switches that torch's types do not all know
    cudnn: Any = torch.backends.cudnn
    if hasattr(cudnn, "conv"):  # torch 2.9 and later; the switches below would warn there
        for backend in (matmul, cudnn.conv, cudnn.rnn):
            backend.fp32_precision = TF32 if on else "ieee"
        return
    matmul.allow_tf32 = cudnn.allow_tf32 = on
