"""The reference: what the eager model answers on real samples, and how far an artifact may be from it, element by element.

Measured once per model, before any artifact is looked at. What is wrong with the model itself is found here too: rows
that depend on their neighbours, numbers that are none, or so ill-conditioned that no comparison would mean anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export import eager, tolerance
from export.exporter import ExportSource
from models.tensors import Array, Tensors, TensorSpec, rows_of

#: Of a discrete output, the share that may be undecided; with more, equality of the rest would prove little.
MOST_UNDECIDED = 0.05


@dataclass(frozen=True, slots=True)
class OutputReference:
    """One output. `values`, `allowed` (the absolute difference) and `undecided` have the same shape.

    `noise_floor` and `tolerance` are the largest over all elements. A discrete output (integers, booleans) is allowed no
    difference, save where it is undecided: its scores, or the eager model's own runs, tie. `fault` says why this output
    can pass no check at all.
    """

    spec: TensorSpec
    values: Array
    allowed: Array
    undecided: Array
    noise_floor: float
    tolerance: float
    fault: str | None

    @property
    def discrete(self) -> bool:
        """Whether the output is compared by equality."""
        return is_discrete(self.values)


@dataclass(frozen=True, slots=True)
class Reference:
    """The samples and, per output in the signature's order, what the eager model answers for them."""

    inputs: Tensors
    outputs: Mapping[str, OutputReference]

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, slots=True)
class _Runs:
    """One output, or the scores behind it, in every run. `exact_alone` and `again` are of the first batch only."""

    values: Array
    alone: Array
    exact: Array
    exact_alone: Array
    again: Array

    def noise(self) -> Array:
        """Return per element what the eager model differs from itself."""
        return np.maximum(tolerance.difference(self.values, self.exact), tolerance.difference(self.values, self.alone))

    def floors(self) -> Array:
        """Return the noise floor per element."""
        return tolerance.floors(self.values, self.noise())

    def allowed(self) -> Array:
        """Return the tolerance per element."""
        return tolerance.allowed(self.values, self.floors())


def measure(source: ExportSource) -> Reference:
    """Run the eager model in five ways; raise ExportError where it cannot be run. Blocks for as long as that takes."""
    inputs, most = source.samples, source.signature.max_batch_size
    first = rows_of(inputs, 0, most)
    batched = eager.in_float32(source, inputs, batch_size=most)
    alone = eager.in_float32(source, inputs, batch_size=1)
    exact = eager.in_float64(source, inputs, batch_size=most)
    # One batch is enough to see whether rows depend on each other: in float64 there is no noise to tell it from.
    exact_alone = eager.in_float64(source, first, batch_size=1)
    again = eager.in_float32(source, first, batch_size=most)
    answers = (batched, alone, exact, exact_alone, again)
    sound = _sound(inputs)
    outputs = {}
    for spec in source.signature.outputs:
        runs = _Runs(*(answer.outputs[spec.name] for answer in answers))
        if not is_discrete(runs.values):
            outputs[spec.name] = _continuous(spec, runs, sound=sound)
            continue
        scores = None
        if spec.name in batched.scores:
            scores = _Runs(*(answer.scores[spec.name] for answer in answers))
        outputs[spec.name] = _discrete(spec, runs, scores, sound=sound)
    return Reference(inputs, outputs)


def is_discrete(values: Array) -> bool:
    """Tell whether values are compared by equality: integers and booleans."""
    return not np.issubdtype(values.dtype, np.floating)


def _continuous(spec: TensorSpec, runs: _Runs, *, sound: Array) -> OutputReference:
    floor = float(np.max(runs.floors(), initial=0.0))
    scale = tolerance.scale(runs.values)
    measured = float(np.max(runs.noise(), initial=0.0))
    fault = _not_finite(runs, sound) or _chance(runs) or _dependence(runs)
    if fault is None and measured > tolerance.ILL_CONDITIONED * scale:
        fault = (
            f"ill-conditioned: the eager model differs from itself by {measured:.2g}, more than "
            f"{tolerance.ILL_CONDITIONED:g} of the largest value {scale:.2g}: no artifact could be told from a wrong one"
        )
    return OutputReference(
        spec=spec,
        values=runs.values,
        allowed=runs.allowed(),
        undecided=np.zeros(runs.values.shape, np.bool_),
        noise_floor=floor,
        tolerance=tolerance.ALLOWED_FLOORS * floor,
        fault=fault,
    )


def _discrete(spec: TensorSpec, runs: _Runs, scores: _Runs | None, *, sound: Array) -> OutputReference:
    tied = np.zeros(runs.values.shape, np.bool_) if scores is None else _tied(scores)
    undecided = tied | (runs.values != runs.exact) | (runs.values != runs.alone)
    first = len(runs.exact_alone)
    share = float(np.mean(undecided)) if undecided.size else 0.0
    fault = None if scores is None else _not_finite(scores, sound)
    fault = fault or _chance(runs)
    if fault is None and scores is not None:
        fault = _chance(scores) or _dependence(scores)
    if fault is None and ((runs.exact[:first] != runs.exact_alone) & ~tied[:first]).any():
        fault = "rows are not independent: a row alone is decided otherwise than in a batch, in float64 too"
    elif fault is None and share > MOST_UNDECIDED:
        fault = f"ill-conditioned: {share:.0%} of the decisions are ties, or differ between two runs of the eager model"
    return OutputReference(
        spec=spec,
        values=runs.values,
        allowed=np.zeros(runs.values.shape),
        undecided=undecided,
        noise_floor=0.0,
        tolerance=0.0,
        fault=fault,
    )


def _tied(scores: _Runs) -> Array:
    """Return which decisions are ties: those whose two best scores an artifact may rightly have in the other order."""
    if scores.values.shape[-1] < 2:
        return np.zeros(scores.values.shape[:-1], np.bool_)
    best = np.partition(scores.exact, -2, axis=-1)
    # Each of the two may be off by the tolerance, towards the other.
    tied: Array = best[..., -1] - best[..., -2] <= 2 * scores.allowed().max(axis=-1)
    return tied


def _sound(inputs: Tensors) -> Array:
    """Return which rows hold no NaN and no infinity in any input: of the others nobody can expect a number."""
    rows = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in inputs.values()]
    sound: Array = np.logical_and.reduce(rows)
    return sound


def _not_finite(runs: _Runs, sound: Array) -> str | None:
    """Say so if sound inputs have answers that are not numbers: an artifact which says NaN too would count as equal.

    Minus infinity is one: the logarithm of 0, or the score of a class that was masked.
    """
    values = runs.values[sound]
    wrong = np.count_nonzero(np.isnan(values) | np.isposinf(values))
    return f"not finite: {wrong:,} of {values.size:,} values are NaN or infinite" if wrong else None


def _chance(runs: _Runs) -> str | None:
    """Say so if the same inputs have had two answers."""
    apart = tolerance.difference(runs.values[: len(runs.again)], runs.again)
    if np.all(apart <= tolerance.least(runs.values)):
        return None
    return (
        f"random: two runs of the eager model on the same inputs differ by {float(np.max(apart)):.2g}; is dropout left on?"
    )


def _dependence(runs: _Runs) -> str | None:
    """Say so if a row's answer depends on its neighbours.

    In float64 the two ways to compute a row agree to some 1e-13; what is above the floor of float32 is no rounding.
    """
    first = len(runs.exact_alone)
    apart = tolerance.difference(runs.exact[:first], runs.exact_alone)
    rounding = tolerance.floors(runs.values, tolerance.difference(runs.values, runs.exact))[:first]
    if np.all(apart <= rounding):
        return None
    worst = int(np.argmax(np.max(apart.reshape(first, -1), axis=1, initial=0.0)))
    return (
        f"rows are not independent: sample {worst} alone differs by {float(np.max(apart)):.2g} from itself in a batch, "
        "in float64 too; such a model cannot be batched"
    )
