"""Two versions asked the same: how many decisions changed, how far other outputs moved, which is right more often."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.exporter import Run
from export.held_out import Samples
from export.tolerance import difference
from models.content import LabelContent
from models.manifest import Artifact, Manifest
from models.tensors import Array, Signature, Tensors, rows_of
from training import mcnemar

#: Calls of which the median is told; of each version in turn, so that whatever else the machine does hits both.
_CALLS = 50


@dataclass(frozen=True, slots=True)
class OutputChange:
    """One output of both versions. `changed` counts rows, beyond both tolerances where it is no integer output.

    `largest` is None for integers, and where datatype or shape changed, or one is NaN or infinite and the other not.
    """

    output: str
    decision: bool
    rows: int
    changed: int
    largest: float | None


@dataclass(frozen=True, slots=True)
class Rightness:
    """Both versions against the truth: how many each has right, how many only one of them, and McNemar's probability."""

    first: int
    second: int
    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of asking both. `rightness` is None where nobody knows the truth."""

    format: str
    source: str
    outputs: tuple[OutputChange, ...]
    rightness: Rightness | None


def compare(
    runs: tuple[Run, Run], manifests: tuple[Manifest, Manifest], artifacts: tuple[Artifact, Artifact], samples: Samples
) -> Answers:
    """Ask two opened artifacts of one format; their inputs have the same names, datatypes and shapes.

    Outputs that are random in one of them are left out: they change without a change.
    """
    first, second = ([_ask(run, manifest.signature, one) for one in samples.requests] for run, manifest in
                     zip(runs, manifests, strict=True))  # fmt: skip
    named = [spec.name for spec in manifests[0].signature.outputs if manifests[1].signature.output(spec.name)]
    shared = [name for name in named if not any(name in artifact.random for artifact in artifacts)]
    batched = manifests[0].signature.batched
    changes = []
    for name in shared:
        allowed = sum(artifact.tolerance.get(name, 0.0) for artifact in artifacts)
        pairs = [(one[name], other[name]) for one, other in zip(first, second, strict=True)]
        changes.append(_change(name, pairs, allowed, batched=batched))
    decision = _decision(*manifests)
    rightness = None
    if decision is not None and samples.targets is not None:
        rightness = _rightness(first[0][decision], second[0][decision], samples.targets)
    return Answers(artifacts[0].format, samples.source, tuple(changes), rightness)


def medians(runs: tuple[Run, Run], inputs: Tensors, *, sizes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return per batch size the median time of a call, in seconds, of each of two artifacts, called in turn.

    Size 0 is a request of a model without a batch axis, as it is.
    """
    found = {}
    for size in sizes:
        batch = _filled(inputs, size) if size else inputs
        taken: tuple[list[float], list[float]] = ([], [])
        for run in runs:
            run(batch)  # the first call is a warm-up
        for _ in range(_CALLS):
            for run, times in zip(runs, taken, strict=True):
                began = time.perf_counter()
                run(batch)
                times.append(time.perf_counter() - began)
        found[size] = (float(np.median(taken[0])), float(np.median(taken[1])))
    return found


def _filled(inputs: Tensors, size: int) -> Tensors:
    """Return a batch of so many rows: the inputs, over and over."""
    rows = len(next(iter(inputs.values())))
    return {name: array[np.arange(size) % rows] for name, array in inputs.items()}


def _ask(run: Run, signature: Signature, inputs: Tensors) -> dict[str, Array]:
    """Return the outputs for one request, cut into batches that the version takes."""
    if not signature.batched:
        return run(inputs)
    rows, size = len(next(iter(inputs.values()))), signature.max_batch_size
    parts = [run(rows_of(inputs, start, start + size)) for start in range(0, rows, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _change(name: str, pairs: Sequence[tuple[Array, Array]], allowed: float, *, batched: bool) -> OutputChange:
    """Return how an output changed over all requests. A request without a batch axis counts as one row."""
    rows = changed = 0
    largest, floating = 0.0, False
    for one, other in pairs:
        count = len(one) if batched else 1
        rows += count
        if one.dtype != other.dtype or one.shape != other.shape:
            changed, largest = changed + count, float("inf")
            continue
        floating = one.dtype.kind == "f"
        apart = difference(one, other) if floating else (one != other).astype(np.float64)
        largest = max(largest, float(np.max(apart, initial=0.0)))
        wrong = (apart > (allowed if floating else 0.0)).reshape(count, -1)
        changed += int(np.count_nonzero(wrong.any(axis=1)))
    return OutputChange(name, not floating, rows, changed, largest if floating and np.isfinite(largest) else None)


def _decision(first: Manifest, second: Manifest) -> str | None:
    """Return the output that both versions call their decision, or None."""
    told = {None if manifest.content is None else manifest.content.output for manifest in (first, second)}
    names = {answer.decision if isinstance(answer, LabelContent) else None for answer in told}
    return names.pop() if len(names) == 1 else None


def _rightness(first: Array, second: Array, targets: Array) -> Rightness:
    one, other = first == targets, second == targets
    only_first, only_second = int(np.count_nonzero(one & ~other)), int(np.count_nonzero(other & ~one))
    return Rightness(
        int(np.count_nonzero(one)), int(np.count_nonzero(other)), only_first, only_second,
        mcnemar.p_value(only_first, only_second),
    )  # fmt: skip
