"""Staging: memory that a session hands out for joined inputs, on their way to a GPU and back, over and over.

A slot is the memory of one batch under way. A ring has as many as batches may be under way, and gives them out in turn:

- what `allocate` returns belongs to the slot that begins next, so whoever allocates and never begins has taken nothing;
- a slot is the batch's from `begin` to `end`, and touched by nobody else meanwhile;
- memory only grows, and only in a slot that is free: nothing is on its way to or from it.
"""

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from models.tensors import Array

#: Protocol datatype → torch's. BYTES is no number, and torch has no such tensor.
TORCH_DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
    "BF16": torch.bfloat16,
}

Slot = TypeVar("Slot")


class Buffer:
    """Bytes of one kind of memory, as tensors of any shape; the last one handed out is the one that is meant."""

    __slots__ = ("_bytes", "_new")

    def __init__(self, new: Callable[[int], torch.Tensor]) -> None:
        self._new = new
        self._bytes: torch.Tensor | None = None

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor on the beginning of this memory, which is replaced by a larger one where it is too small."""
        size = math.prod(shape) * dtype.itemsize
        if self._bytes is None or self._bytes.numel() < size:
            # To the next power of two: where lengths are free, batches that grow by a little do not allocate each time.
            self._bytes = self._new(1 << max(0, size - 1).bit_length())
        return self._bytes[:size].view(dtype).view(shape)


class Ring(Generic[Slot]):
    """Slots in turn. With all of them under way the oldest has to end first."""

    __slots__ = ("_begun", "_ended", "_slots")

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots
        self._begun = self._ended = 0

    @property
    def under_way(self) -> int:
        """How many slots have begun and not ended."""
        return self._begun - self._ended

    def next(self) -> Slot:
        """Return the slot that begins next; raise RuntimeError where all of them are under way."""
        if self.under_way == len(self._slots):
            raise RuntimeError(
                f"expected at most {len(self._slots)} batches under way, found another begun before one ended"
            )
        return self._slots[self._begun % len(self._slots)]

    def begin(self) -> None:
        """Take the slot that `next` has returned."""
        self._begun += 1

    def oldest(self) -> Slot:
        """Return the slot that ends next; raise RuntimeError where none is under way."""
        if not self.under_way:
            raise RuntimeError("expected a batch under way, found none begun")
        return self._slots[self._ended % len(self._slots)]

    def end(self) -> None:
        """Give back the slot that `oldest` has returned."""
        self._ended += 1


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return a tensor in host memory as an array on the same memory; BF16, which numpy lacks, as its 16 bits."""
    array: Array = (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def lies_in(array: Array, tensor: torch.Tensor) -> bool:
    """Tell whether an array is the very memory of a tensor in host memory, element by element."""
    return bool(
        array.__array_interface__["data"][0] == tensor.data_ptr()
        and array.shape == tuple(tensor.shape)
        and array.flags.c_contiguous
    )
