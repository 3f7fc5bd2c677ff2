"""Free axes inside a row: that a file takes other lengths than it was traced with is proved by running it at others.

The batch axis is proved by parity, which runs every sample in batches of several sizes. Samples have one length each, so
here they are cut and repeated to others, and the eager model answers for those too. A length that it refuses itself, or
has no number for, proves nothing about a file and is left out; an axis of which it takes no other length is not free.
"""

from dataclasses import dataclass, replace

import numpy as np

from export import batches, parity, reference
from export.exporter import ExportError, ExportSource, Run
from export.reference import Reference
from models.tensors import rows_of

#: Requests that are tried at another length where there is no batch axis: each costs an execution.
_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class Proof:
    """What the eager model answers where the named axes have another length than in the samples."""

    axes: str
    length: int
    reference: Reference

    def fault(self, format: str, run: Run) -> str | None:
        """Return how an opened file fails at this length, None where it answers as the eager model does."""
        sizes = sorted({1, self.reference.rows}) if self.reference.signature.batched else [batches.ALONE]
        comparison = parity.compare(format, run, self.reference, sizes=sizes)
        return f"{self.axes} at length {self.length}: {comparison.faults[0]}" if comparison.faults else None


def proofs(source: ExportSource) -> list[Proof]:
    """Return what to hold a file against, for every free axis; raise ExportError for one that the model itself has not."""
    found = []
    for length, axes in _groups(source).items():
        # Samples have one axis more than a request of a model without a batch axis.
        words = " and ".join(f"input {name!r} axis {axis - (not source.signature.batched)}" for name, axis in axes)
        proved, refused = [], ""
        for other in _others(length):
            try:
                measured = reference.measure(_resized(source, axes, other))
            except ExportError as error:
                refused = str(error)
                continue
            if not any(output.fault or output.dependence for output in measured.outputs.values()):
                proved.append(Proof(words, other, measured))
        if not proved and refused:
            lengths = ", ".join(map(str, _others(length)))
            raise ExportError(
                f"{words}: declared free, but the eager model takes {length} only, none of {lengths}: {refused}; give the "
                f"signature that length"
            )
        found += proved
    return found


def _groups(source: ExportSource) -> dict[int, list[tuple[str, int]]]:
    """Return the samples' free axes by their length: axes of one length may have to stay equal, as mask and text."""
    groups: dict[int, list[tuple[str, int]]] = {}
    for spec in source.signature.inputs:
        for axis, length in enumerate(spec.shape, start=1):
            if length is None:
                groups.setdefault(source.samples[spec.name].shape[axis], []).append((spec.name, axis))
    return groups


def _others(length: int) -> list[int]:
    """Return the lengths to try: the smallest, a shorter one and a longer one that is no multiple of anything traced."""
    return sorted({1, max(2, length // 2), 2 * length + 1} - {length})


def _resized(source: ExportSource, axes: list[tuple[str, int]], length: int) -> ExportSource:
    """Return the source with one batch of samples, or a few requests, cut or repeated along these axes."""
    samples = dict(rows_of(source.samples, 0, source.signature.max_batch_size or _REQUESTS))
    for name, axis in axes:
        samples[name] = np.take(samples[name], np.arange(length) % samples[name].shape[axis], axis=axis)
    return replace(source, samples=samples)
