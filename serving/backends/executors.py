"""How a torch module is executed on a GPU: operator by operator, or by replaying what was recorded of it.

An eager run of a small model is mostly launching: the GPU waits for Python. A recording (a CUDA graph) launches all of a
run at once, but always on the same memory and in the same shapes; so inputs are copied into that memory, one recording a
batch bucket, and rows beyond the batch are zeros, whose answers are cut off.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch

from models.tensors import Signature
from serving.backends.buckets import bucket_for
from serving.backends.pipeline import Execute
from serving.backends.staging import TORCH_DTYPES


class Recording(Protocol):
    """A run that can be run again: on the memory its inputs had, into the memory of `outputs`."""

    outputs: Sequence[torch.Tensor]

    def replay(self) -> None:
        """Run it, on the current stream."""
        ...


class RecordingError(Exception):
    """A module cannot be recorded; the message says why. It may still be executed."""


class Eager:
    """Calls the module. `arithmetic` holds the process's arithmetic to what this model is to be computed in."""

    def __init__(self, module: Any, arithmetic: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._module = module  # Any: its call takes what its graph says
        self._arithmetic = arithmetic

    def __call__(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return the outputs."""
        with self._arithmetic():
            return as_tuple(self._module(*given))


class Recorded:
    """Replays the recording of the smallest bucket that holds a batch."""

    def __init__(self, memory: Sequence[torch.Tensor], recordings: Mapping[int, Recording], *, batched: bool) -> None:
        self._memory = memory
        self._recordings = recordings
        self._buckets = tuple(sorted(recordings))
        self._batched = batched

    def __call__(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return the outputs, on memory that the next call writes to."""
        if not self._batched:
            for memory, tensor in zip(self._memory, given, strict=True):
                memory.copy_(tensor, non_blocking=True)
            recording = self._recordings[1]
            recording.replay()
            return recording.outputs
        rows = given[0].shape[0]
        bucket = bucket_for(rows, self._buckets)
        if bucket is None:
            raise ValueError(f"expected at most {self._buckets[-1]} rows, found {rows}")
        for memory, tensor in zip(self._memory, given, strict=True):
            memory[:rows].copy_(tensor, non_blocking=True)
            if rows < bucket:
                memory[rows:bucket].zero_()
        recording = self._recordings[bucket]
        recording.replay()
        return [output[:rows] for output in recording.outputs]


def record(
    run: Execute,
    signature: Signature,
    buckets: Sequence[int],
    *,
    memory: Callable[[int], torch.Tensor],
    recorder: Callable[[Callable[[], Sequence[torch.Tensor]]], Recording],
) -> Execute:
    """Return a module's executions recorded for each bucket; raise RecordingError where one cannot be.

    `memory` gives bytes on the device, `recorder` runs a function and returns its recording.
    """
    lengths = [_fixed(spec.shape) for spec in signature.inputs]
    first = (buckets[-1],) if signature.batched else ()
    inputs = []
    for spec, shape in zip(signature.inputs, lengths, strict=True):
        dtype, whole = TORCH_DTYPES[spec.datatype], (*first, *shape)
        size = torch.Size(whole).numel() * dtype.itemsize
        inputs.append(memory(max(1, size))[:size].view(dtype).view(whole).zero_())
    recordings: dict[int, Recording] = {}
    # The largest first: recordings share memory for what is between inputs and outputs, which then is large enough at once.
    for rows in sorted(buckets, reverse=True):
        given = [tensor[:rows] for tensor in inputs] if signature.batched else inputs
        try:
            recordings[rows] = recording = recorder(partial(run, given))
        except Exception as error:  # torch raises RuntimeError, errors of CUDA's and whatever a module raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RecordingError(f"{rows} rows: {reason}") from error
        for spec, output in zip(signature.outputs, recording.outputs, strict=False):
            if signature.batched and (output.dim() == 0 or output.shape[0] != rows):
                found = list(output.shape)
                raise RecordingError(f"{rows} rows: output {spec.name!r}: expected as many rows, found the shape {found}")
    return Recorded(inputs, recordings, batched=signature.batched)


def as_tuple(results: Any) -> tuple[torch.Tensor, ...]:  # Any: what a module returns
    """Return a module's outputs in order: export writes tuples, others return a lone tensor as it is."""
    return (results,) if isinstance(results, torch.Tensor) else tuple(results)


def _fixed(shape: Sequence[int | None]) -> tuple[int, ...]:
    lengths = tuple(length for length in shape if length is not None)
    if len(lengths) != len(shape):
        raise RecordingError("an input has a free axis, so shapes are not known before")
    return lengths
