"""Faults to be planted: what a broken artifact holds in place of the model.

Each is the module with one thing changed, so that the same change in eager mode and float64 tells whether there is
anything to be noticed at all: a fault that moves no output by more than twenty noise floors is called equivalent.
"""

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from export.exporter import ExportSource, exporter_of
from models.tensors import Signature


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault's kind and place, and what is exported in place of the module."""

    kind: str
    place: str
    source: ExportSource


def planted(source: ExportSource) -> Iterator[Fault]:
    """Yield every fault that fits the module: of each kind, at each place."""
    yield from _weights(source)
    signature = source.signature
    for place, spec in enumerate(signature.outputs):
        if spec.datatype == "FP32":
            yield Fault("transposed output", spec.name, _answering(source, partial(_at, place, _transposed)))
            yield Fault("float16 cast", spec.name, _answering(source, partial(_at, place, _halved)))
    for first, second in _pairs(signature):
        names = f"{signature.outputs[first].name} and {signature.outputs[second].name}"
        yield Fault("swapped outputs", names, _answering(source, partial(_swapped, first, second)))


def write_baked(format: str, source: ExportSource, path: Path) -> None:
    """Write a file of the right module in which the batch axis is the number that it was exported with.

    A trace frees every axis that it can, so there a number of Python is put into the graph, as a careless reshape does.
    """
    alone = replace(source, signature=replace(source.signature, max_batch_size=1))
    if format == "torchscript":
        alone = _answering(
            alone, lambda answers: tuple(answer.reshape([int(n) for n in answer.shape]) for answer in answers)
        )
    exporter_of(format).export(alone, path)


def _weights(source: ExportSource) -> Iterator[Fault]:
    """Yield the module with one number 1 % larger, for each floating parameter and buffer; then with all of 16 bits.

    Of a tensor's numbers the median by size: neither one that is nearly zero nor the one that matters most.
    """
    names = [name for name, tensor in source.module.state_dict().items() if tensor.is_floating_point() and tensor.any()]
    for name in names:
        module = copy.deepcopy(source.module)
        with torch.no_grad():
            numbers = module.state_dict()[name].view(-1)
            order = numbers.abs().argsort()
            order = order[numbers[order] != 0]
            numbers[order[len(order) // 2]] *= 1.01
        yield Fault("one weight +1 %", name, replace(source, module=module))
    if names:
        module = copy.deepcopy(source.module)
        with torch.no_grad():
            for name in names:
                module.state_dict()[name].copy_(_halved(module.state_dict()[name]))
        yield Fault("float16 cast", "all weights", replace(source, module=module))


def _answering(source: ExportSource, change: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]) -> ExportSource:
    """Return the source with something done to what its module answers; inputs keep their names."""
    kind = type(source.module)
    forward = kind.forward

    def changed(self: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        return change(forward(self, *inputs))

    changed.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    module = copy.copy(source.module)
    module.__class__ = type("Faulty", (kind,), {"forward": changed})
    return replace(source, module=module)


def _at(place: int, change: Callable[[Tensor], Tensor], answers: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(change(answer) if index == place else answer for index, answer in enumerate(answers))


def _swapped(first: int, second: int, answers: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    found = list(answers)
    found[first], found[second] = found[second], found[first]
    return tuple(found)


def _pairs(signature: Signature) -> Iterator[tuple[int, int]]:
    """Yield neighbouring outputs that could be taken for each other: equal in datatype and shape."""
    for place, (spec, following) in enumerate(zip(signature.outputs, signature.outputs[1:], strict=False)):
        if (spec.datatype, spec.shape) == (following.datatype, following.shape):
            yield place, place + 1


def _transposed(answer: Tensor) -> Tensor:
    """Return an answer whose last two axes, the batch axis among them where there are no others, were exchanged."""
    if answer.dim() < 2:
        return answer.flip(0)
    return answer.transpose(-1, -2).reshape(answer.shape)


def _as_numbers(answer: Tensor) -> Tensor:
    """Return the same answer in a shape of plain numbers, which is what a trace then keeps."""
    return answer.reshape([int(length) for length in answer.shape])


def _halved(answer: Tensor) -> Tensor:
    return answer.half().to(answer.dtype)
