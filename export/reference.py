"""The reference: what the eager model answers on real samples, and how far an artifact may be from it, element by element.

Measured once per model, before any artifact is looked at. What is wrong with the model itself is found here too: rows
that depend on their neighbours, answers that are another each time, numbers that are none, or so ill-conditioned that no
comparison would mean anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from export import eager, tolerance
from export.exporter import DEFAULTS, ExportError, ExportSource, Options
from models.tensors import Array, Signature, Tensors, TensorSpec, rows_of

#: Of a discrete output, the share that may be undecided; with more, equality of the rest would prove little.
MOST_UNDECIDED = 0.05


@dataclass(frozen=True, slots=True)
class Floor:
    """The parts of a noise floor, each the largest over all elements: what the eager model differs from itself.

    float64  computed in float32 and in float64
    alone    a row alone and the same row in a batch; 0 where there is no batch axis
    ulp      LEAST_ULP units in the last place of the output's scale, which is below any measuring
    """

    float64: float
    alone: float
    ulp: float

    @property
    def largest(self) -> float:
        """The floor itself."""
        return max(self.float64, self.alone, self.ulp)


#: Of outputs that are compared by equality, or not at all.
NO_FLOOR = Floor(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class OutputReference:
    """One output. `values`, `allowed` (the absolute difference) and `undecided` have the same shape.

    `floor` and `tolerance` are the largest over all elements. A discrete output (integers, booleans) is allowed no
    difference, save where it is undecided: its scores, or the eager model's own runs, tie. `fault` says why this output
    can pass no check at all, `dependence` how its rows look at each other, `random` that the model itself gives two
    answers to one input, `conditioned` that it is ill-conditioned where a tolerance was stated all the same: `atol` and
    `rtol`, None where it was derived.
    """

    spec: TensorSpec
    values: Array
    allowed: Array
    undecided: Array
    floor: Floor
    tolerance: float
    fault: str | None
    dependence: str | None = None
    random: str | None = None
    conditioned: str | None = None
    atol: float | None = None
    rtol: float | None = None

    @property
    def discrete(self) -> bool:
        """Whether the output is compared by equality."""
        return is_discrete(self.values)


@dataclass(frozen=True, slots=True)
class Reference:
    """The samples and, per output in the signature's order, what the eager model answers for them.

    `before` holds what enters the last step of an output, where that is one of `steps`, under the name of the output.
    """

    signature: Signature
    inputs: Tensors
    outputs: Mapping[str, OutputReference]
    before: Mapping[str, OutputReference] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def dependence(self) -> str | None:
        """How the rows of some output look at each other, or None."""
        return next((f"{name}: {output.dependence}" for name, output in self.outputs.items() if output.dependence), None)


@dataclass(frozen=True, slots=True)
class _Runs:
    """One output, or the scores behind it, in every run. Those in float64 that come twice are of the first batch only."""

    values: Array
    alone: Array
    exact: Array
    exact_alone: Array
    again: Array
    exact_again: Array

    def floors(self) -> Array:
        """Return the noise floor per element."""
        from_exact, from_alone = tolerance.difference(self.values, self.exact), tolerance.difference(self.values, self.alone)
        return tolerance.floors(self.values, np.maximum(from_exact, from_alone))

    def floor(self) -> Floor:
        """Return the largest of each part of the floor."""
        return Floor(
            float64=float(np.max(tolerance.difference(self.values, self.exact), initial=0.0)),
            alone=float(np.max(tolerance.difference(self.values, self.alone), initial=0.0)),
            ulp=tolerance.least(self.values),
        )

    def allowed(self) -> Array:
        """Return the tolerance per element, derived from the floor."""
        return tolerance.allowed(self.values, self.floors())


def measure(source: ExportSource) -> Reference:
    """Run the eager model in six ways; raise ExportError where it cannot be run. Blocks for as long as that takes."""
    inputs, signature = source.samples, source.signature
    if not _sound(inputs).any():
        raise ExportError("samples: expected some without NaN and infinity, found none: no answer to them could be wrong")
    most = signature.max_batch_size
    first = rows_of(inputs, 0, max(1, most))
    batched = eager.in_float32(source, inputs, batch_size=most)
    exact = eager.in_float64(source, inputs, batch_size=most)
    again = eager.in_float32(source, inputs, batch_size=most)
    # One batch is enough to see whether rows depend on each other: in float64 there is no noise to tell it from.
    exact_again = eager.in_float64(source, first, batch_size=most)
    # Without a batch axis every request runs alone already.
    alone = eager.in_float32(source, inputs, batch_size=1) if signature.batched else batched
    exact_alone = eager.in_float64(source, first, batch_size=1) if signature.batched else exact_again
    answers = (batched, alone, exact, exact_alone, again, exact_again)
    sound = _sound(inputs)
    outputs, before = {}, {}
    for spec in signature.outputs:
        if all(spec.name in answer.before for answer in answers):
            inside = _Runs(*(answer.before[spec.name] for answer in answers))
            before[spec.name] = _continuous(spec, inside, DEFAULTS, sound=sound)
        runs = _Runs(*(answer.outputs[spec.name] for answer in answers))
        if not is_discrete(runs.values):
            outputs[spec.name] = _continuous(spec, runs, source.options, sound=sound)
            continue
        scores = None
        if all(spec.name in answer.scores for answer in answers):
            scores = _Runs(*(answer.scores[spec.name] for answer in answers))
        outputs[spec.name] = _discrete(spec, runs, scores, sound=sound)
    return Reference(signature, inputs, outputs, before, {name: batched.steps[name] for name in before})


def is_discrete(values: Array) -> bool:
    """Tell whether values are compared by equality: integers and booleans."""
    return not np.issubdtype(values.dtype, np.floating)


def _continuous(spec: TensorSpec, runs: _Runs, options: Options, *, sound: Array) -> OutputReference:
    if (random := _chance(runs)) is not None:
        return _by_chance(spec, runs, random, _not_finite(runs, sound))
    derived = options.atol is None and options.rtol is None
    atol, rtol = options.atol or 0.0, options.rtol or 0.0
    floor, allowed = runs.floor(), runs.allowed() if derived else tolerance.stated(runs.values, atol=atol, rtol=rtol)
    scale, measured = tolerance.scale(runs.values), max(floor.float64, floor.alone)
    fault, dependence = _not_finite(runs, sound), _dependence(runs)
    conditioned = None
    if fault is None and dependence is None and measured > tolerance.ILL_CONDITIONED * scale:
        conditioned = (
            f"ill-conditioned: the eager model differs from itself by {measured:.2g}, more than "
            f"{tolerance.ILL_CONDITIONED:g} of the largest value {scale:.2g}: no artifact could be told from a wrong one"
        )
    return OutputReference(
        spec=spec,
        values=runs.values,
        allowed=allowed,
        undecided=np.zeros(runs.values.shape, np.bool_),
        floor=floor,
        tolerance=tolerance.ALLOWED_FLOORS * floor.largest if derived else float(np.max(allowed, initial=0.0)),
        fault=fault or (conditioned if derived else None),
        dependence=dependence,
        conditioned=None if derived else conditioned,
        atol=None if derived else atol,
        rtol=None if derived else rtol,
    )


def _discrete(spec: TensorSpec, runs: _Runs, scores: _Runs | None, *, sound: Array) -> OutputReference:
    fault = None if scores is None else _not_finite(scores, sound)
    random = _chance(runs) or (None if scores is None else _chance(scores))
    if random is not None:
        return _by_chance(spec, runs, random, fault)
    tied = np.zeros(runs.values.shape, np.bool_) if scores is None else _tied(scores)
    undecided = tied | (runs.values != runs.exact) | (runs.values != runs.alone)
    first = len(runs.exact_alone)
    share = float(np.mean(undecided)) if undecided.size else 0.0
    dependence = None if scores is None else _dependence(scores)
    if dependence is None and ((runs.exact[:first] != runs.exact_alone) & ~tied[:first]).any():
        dependence = "rows are not independent: a row alone is decided otherwise than in a batch, in float64 too"
    if fault is None and dependence is None and share > MOST_UNDECIDED:
        fault = f"ill-conditioned: {share:.0%} of the decisions are ties, or differ between two runs of the eager model"
    return OutputReference(
        spec=spec,
        values=runs.values,
        allowed=np.zeros(runs.values.shape),
        undecided=undecided,
        floor=NO_FLOOR,
        tolerance=0.0,
        fault=fault,
        dependence=dependence,
    )


def _by_chance(spec: TensorSpec, runs: _Runs, random: str, fault: str | None) -> OutputReference:
    """Return the reference of an output that has no one right value: `values` are an example of it."""
    nothing = np.zeros(runs.values.shape)
    undecided = nothing.astype(np.bool_)
    return OutputReference(spec, runs.values, nothing, undecided, NO_FLOOR, 0.0, fault, random=random)


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
    apart = tolerance.difference(runs.values, runs.again)
    exactly = tolerance.difference(runs.exact[: len(runs.exact_again)], runs.exact_again)
    least = tolerance.least(runs.values)
    if np.all(apart <= least) and np.all(exactly <= least):
        return None
    largest = max(float(np.max(apart, initial=0.0)), float(np.max(exactly, initial=0.0)))
    return (
        f"random: two runs of the eager model on the same inputs differ by {largest:.2g}; judged by shape, datatype and "
        "finiteness alone; is dropout left on?"
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
        "in float64 too"
    )
