"""The way of a batch through a device that works beside us: into staging memory, over, computed, back.

While one batch is computed the next one's inputs are copied on a stream of their own. This file knows the order in which
things have to happen and nothing of CUDA: `Lanes` are what it needs of a device (`cuda.py` has them), and what runs on
them is plain torch, so that a device which delays everything as long as it may can stand in for one in tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from models.tensors import Array, Signature, Tensors
from serving.backends.base import DeviceLost
from serving.backends.staging import TORCH_DTYPES, Buffer, Ring, lies_in, to_numpy

#: One batch is computed while the next one is copied; a third would only wait, and could not gather company meanwhile.
DEPTH = 2

#: Computes outputs from inputs, both on the device, in the signature's order.
Execute = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Wait until the stream has come to it; raise what its work has raised meanwhile."""
        ...


class Stream(Protocol):
    """Work that a device does in the order in which it is submitted, beside other streams."""

    def submit(self, work: Callable[[], None]) -> None:
        """Run a function of ours whose work on the device belongs to this stream; the device's may be done later."""
        ...

    def record(self) -> Event:
        """Return the point after all that was submitted so far."""
        ...

    def wait(self, event: Any) -> None:  # Any: of the same kind of device, which alone can say of what type
        """Let what is submitted from now on wait for an event, of this stream or another."""
        ...

    def synchronize(self) -> None:
        """Wait until nothing is left to do."""
        ...


@dataclass(frozen=True, slots=True)
class Lanes:
    """A device, as far as a pipeline needs it: two streams, host memory that it can read by itself, and its own memory."""

    copies: Stream
    compute: Stream
    pinned: Callable[[int], torch.Tensor]
    memory: Callable[[int], torch.Tensor]


@dataclass(slots=True)
class _Slot:
    """The memory of one batch, per input and per output, and what of it the batch under way has."""

    hosts: list[Buffer]
    devices: list[Buffer]
    answers: list[Buffer]
    given: list[torch.Tensor] = field(default_factory=list)
    results: list[torch.Tensor] = field(default_factory=list)
    done: Event | None = None


class Pipeline:
    """A PipelinedSession on a device's lanes. Outputs are copied out of the staging memory, so they are the caller's."""

    depth = DEPTH

    def __init__(self, signature: Signature, lanes: Lanes, execute: Execute, *, buckets: tuple[int, ...] = ()) -> None:
        self.buckets = buckets
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._places = {spec.name: place for place, spec in enumerate(signature.inputs)}
        self._dtypes = [TORCH_DTYPES[spec.datatype] for spec in signature.inputs]
        self._lanes = lanes
        self._execute = execute
        self._lost = False
        self._ring = Ring([self._slot() for _ in range(DEPTH)])

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return memory of the slot that begins next: the same again, until something has begun."""
        place = self._places[name]
        return to_numpy(self._ring.next().hosts[place].tensor(shape, self._dtypes[place]))

    def run(self, inputs: Tensors) -> Tensors:
        """Execute one batch, with none under way."""
        if self._ring.under_way:
            raise RuntimeError(f"expected no batch under way, found {self._ring.under_way}")
        self.begin(inputs)
        return self.end()

    def begin(self, inputs: Tensors) -> None:
        """Send a batch on its way. Inputs that lie in staging memory already, as joined ones do, are not copied again."""
        if self._lost:
            raise DeviceLost("the device has failed before, and computes nothing any more in this process")
        slot = self._ring.next()
        staged = []
        for spec, host, dtype in zip(self._inputs, slot.hosts, self._dtypes, strict=True):
            array = inputs[spec.name]
            tensor = host.tensor(array.shape, dtype)
            if not lies_in(array, tensor):
                np.copyto(to_numpy(tensor), array, casting="equiv")
            staged.append(tensor)
        lanes = self._lanes
        try:
            lanes.copies.submit(lambda: self._send(slot, staged))
            lanes.compute.wait(lanes.copies.record())
            lanes.compute.submit(lambda: self._compute(slot))
            slot.done = lanes.compute.record()
        except BaseException:
            # Copies may still be on their way out of memory that the next batch will be written to.
            self._settle()
            raise
        self._ring.begin()

    def end(self) -> Tensors:
        """Wait for the oldest batch and return its outputs."""
        slot = self._ring.oldest()
        try:
            if slot.done is not None:
                slot.done.synchronize()
            return {spec.name: to_numpy(result).copy() for spec, result in zip(self._outputs, slot.results, strict=True)}
        except BaseException:
            self._settle()
            raise
        finally:
            slot.done = None
            self._ring.end()

    def close(self) -> None:
        """Wait for what is under way, and drop the model and all memory."""
        self._settle()
        del self._execute
        self._ring = Ring([])

    def _slot(self) -> _Slot:
        lanes = self._lanes
        return _Slot(
            hosts=[Buffer(lanes.pinned) for _ in self._inputs],
            devices=[Buffer(lanes.memory) for _ in self._inputs],
            answers=[Buffer(lanes.pinned) for _ in self._outputs],
        )

    def _send(self, slot: _Slot, staged: Sequence[torch.Tensor]) -> None:
        slot.given = [
            device.tensor(tuple(tensor.shape), tensor.dtype) for device, tensor in zip(slot.devices, staged, strict=True)
        ]
        for tensor, host in zip(slot.given, staged, strict=True):
            tensor.copy_(host, non_blocking=True)

    def _compute(self, slot: _Slot) -> None:
        outputs = self._execute(slot.given)
        slot.results = [
            answer.tensor(tuple(output.shape), output.dtype) for answer, output in zip(slot.answers, outputs, strict=True)
        ]
        for result, output in zip(slot.results, outputs, strict=True):
            result.copy_(output, non_blocking=True)

    def _settle(self) -> None:
        """Wait until nothing is on its way to or from any slot; a device that cannot even do that is lost."""
        for stream in (self._lanes.copies, self._lanes.compute):
            try:
                stream.synchronize()
            except Exception:  # noqa: BLE001 - whatever it was is what the caller is about to raise, or has raised before
                self._lost = True
