"""What a report shows of one output beside its verdict: how its errors are spread, and the samples furthest off."""

import math
from dataclasses import dataclass

import numpy as np

from models.tensors import Array

#: Bins per power of ten.
_PER_DECADE = 2

#: Samples that are shown of each output.
_WORST = 4


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of absolute errors, over all elements, samples and batch sizes.

    `counts[i]` errors lie in [`edges[i]`, `edges[i + 1]`), bins of half a power of ten. `equal` elements have no error,
    `infinite` ones are NaN or infinite where the reference is another number.
    """

    equal: int
    infinite: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Worst:
    """One sample with what was expected of an output and what a file answered, without a batch axis."""

    sample: int
    expected: Array
    found: Array


@dataclass(frozen=True, slots=True)
class Evidence:
    """One output of one file: its errors, and the samples with the largest ones, the furthest off first."""

    histogram: Histogram
    worst: tuple[Worst, ...]


def gather(apart: Array, expected: Array, found: Array) -> Evidence:
    """Return the evidence of errors [batch sizes, rows, …], for references [rows, …] and answers [batch sizes, rows, …]."""
    sizes, rows = apart.shape[:2]
    largest = apart.reshape(sizes, rows, -1).max(axis=2, initial=0.0)
    per_row = largest.max(axis=0)
    order = np.argsort(-per_row, kind="stable")[:_WORST]
    worst = (Worst(int(row), expected[row], found[largest[:, row].argmax(), row]) for row in order if per_row[row] > 0)
    return Evidence(histogram(apart), tuple(worst))


def histogram(errors: Array) -> Histogram:
    """Return the histogram of absolute errors, which may be 0 or infinite."""
    finite = errors[np.isfinite(errors) & (errors > 0)]
    equal, infinite = int(np.count_nonzero(errors == 0)), int(np.count_nonzero(~np.isfinite(errors)))
    if finite.size == 0:
        return Histogram(equal, infinite, (), ())
    places = np.floor(_PER_DECADE * np.log10(finite)).astype(np.int64)
    first, last = int(places.min()), int(places.max())
    counts = np.bincount(places - first, minlength=last - first + 1)
    edges = (math.pow(10.0, place / _PER_DECADE) for place in range(first, last + 2))
    return Histogram(equal, infinite, tuple(edges), tuple(int(count) for count in counts))
