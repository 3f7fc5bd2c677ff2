"""Trial: what a module answers on a few real inputs, and so which axes of its outputs are rows, free, or fixed.

Nothing is proved here. What is seen becomes a signature, and every saved file is held against that on all samples.
"""

from collections.abc import Callable, Mapping

import numpy as np

from export.exporter import ExportError
from models.tensors import Array, Tensors

#: Inputs in, outputs by name out; raises ExportError where the module fails.
Call = Callable[[Tensors], Mapping[str, Array]]

#: Axes by input, counted as in its array.
Axes = Mapping[str, frozenset[int]]

#: A shape with None where an axis follows a free axis of the inputs.
Shape = tuple[int | None, ...]

#: What a person may have meant whose module has no batch axis.
_REMEDY = (
    "look for a number where x.shape[0] or -1 is meant, or for a sum over all rows; of a model without a batch axis, say "
    "max_batch_size 0, and its inputs are one whole request"
)


def rows(call: Call, samples: Tensors, *, most: int, free: Axes) -> dict[str, Shape]:
    """Return the shape of every output of one row, without the batch axis; raise ExportError where there is none.

    `most` is the largest batch. Run on as many rows as that, or as there are, on one and on two.
    """
    count = len(next(iter(samples.values())))
    several = _picked(samples, range(min(count, most)))
    expected = call(several)
    _same_alone(call, samples, count)
    sizes = sorted({size for size in (1, 2) if size <= most} - {min(count, most)})
    for size in sizes:
        try:
            found = call(_picked(samples, [row % count for row in range(size)]))
        except ExportError as error:
            raise ExportError(f"the module runs on {min(count, most)} rows and not on {size}: {error}; {_REMEDY}") from error
        for name, array in expected.items():
            if found[name].shape[1:] != array.shape[1:]:
                shapes = f"{list(array.shape)} on {min(count, most)} rows and {list(found[name].shape)} on {size}"
                raise ExportError(f"output {name!r}: expected the same shape for each row, found {shapes}; {_REMEDY}")
        _check_rows(found, size)
    _check_rows(expected, min(count, most))
    return {name: shape[1:] for name, shape in _following(call, several, expected, free).items()}


def whole(call: Call, request: Tensors, *, free: Axes) -> dict[str, Shape]:
    """Return the whole shape of every output on one request of a model without a batch axis."""
    return _following(call, request, call(request), free)


def _same_alone(call: Call, samples: Tensors, count: int) -> None:
    """Raise ExportError where one row is answered in another shape than the next: by its values, as nothing else differs."""
    if count < 2:
        return
    try:
        first, second = call(_picked(samples, [0])), call(_picked(samples, [1]))
    except ExportError:
        return  # told later, with how many rows it does run on
    for name, array in first.items():
        if name not in second or second[name].shape != array.shape:
            shapes = f"{list(array.shape)} and {list(second[name].shape)}" if name in second else "it for one of them only"
            raise ExportError(
                f"output {name!r}: expected one shape for inputs of one shape, found {shapes} for two rows, so it "
                "depends on values; have the module fill it up to a fixed length, and return the count beside it"
            )


def _check_rows(found: Mapping[str, Array], size: int) -> None:
    for name, array in found.items():
        if array.shape[:1] != (size,):
            raise ExportError(
                f"output {name!r}: expected {size} rows, as in the inputs, found the shape {list(array.shape)}; {_REMEDY}"
            )


def _following(call: Call, inputs: Tensors, expected: Mapping[str, Array], free: Axes) -> dict[str, Shape]:
    """Return the outputs' shapes with None for each axis that another length of a free input axis changes.

    Axes that have one length in the samples change together: a mask has the length of its text. Lengths that the module
    refuses are passed over; of an axis that takes no other at all, `free_axes.py` tells.
    """
    shapes: dict[str, list[int | None]] = {name: list(array.shape) for name, array in expected.items()}
    groups: dict[int, list[tuple[str, int]]] = {}
    for name, axes in free.items():
        for axis in sorted(axes):
            groups.setdefault(inputs[name].shape[axis], []).append((name, axis))
    for length, group in groups.items():
        for other in (2 * length + 1, max(1, length // 2), 1):
            resized = dict(inputs)
            for name, axis in group:
                resized[name] = np.take(resized[name], np.arange(other) % length, axis=axis)
            try:
                found = call(resized)
            except ExportError:
                continue
            for name, shape in shapes.items():
                if found[name].ndim != len(shape):
                    raise ExportError(f"output {name!r}: expected {len(shape)} axes at any length, found {found[name].ndim}")
                for axis, (was, now) in enumerate(zip(expected[name].shape, found[name].shape, strict=True)):
                    shape[axis] = None if now != was else shape[axis]
    return {name: tuple(shape) for name, shape in shapes.items()}


def _picked(samples: Tensors, places: "range | list[int]") -> dict[str, Array]:
    return {name: array[list(places)] for name, array in samples.items()}
