"""Edges: what the eager model answers where an input is zero, extreme, denormal, infinite or no number, among real rows.

Not every difference there is a fault. A sum of numbers near the largest is infinite in one order and not in the other, and
whether the digits of a cancellation are right is luck. So a value is judged only where the eager model is sure of it:

- its runs in float32, in float32 alone, in float64 and twice in float64 with perturbed results (`perturbed.py`) agree on
  what it is: a number, NaN, infinity or minus infinity; and
- nothing inside grew to within SUMMED of float32's largest number, unless it does so for real samples, and nothing was
  squared where float32 has no square of it.

Judged values that are no numbers must be so in the file. Numbers may differ by ten floors or by a thousandth of the largest
in the answer, whichever is more: real samples were the finer sieve, here a file is found that clamps, flushes or replaces.
Decisions are judged where their scores are such numbers, and no tie. Rows beside the edge must be as they are without it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from export import eager, edge_inputs, tolerance
from export.eager import Answers
from export.exporter import ExportError, ExportSource
from export.reference import Reference, is_discrete
from models.tensors import Array, Tensors

#: Terms that a sum may have: where float32 holds no more than so many times the largest value seen, order may decide.
SUMMED = 2.0**16

#: How many times what real samples reach: masks are made of the most negative number, and are no overflow.
_USUAL = 4.0


@dataclass(frozen=True, slots=True)
class Expected:
    """One output of the whole batch: `judged` values may differ by `allowed`, others by anything. All have one shape."""

    values: Array
    judged: Array
    allowed: Array


@dataclass(frozen=True, slots=True)
class Edge:
    """One input at one edge. `place` is its sample among `inputs`, which count samples by their first axis.

    `skipped` says why nothing is compared; `outputs` is empty then.
    """

    input: str
    name: str
    inputs: Tensors
    place: int
    outputs: Mapping[str, Expected]
    skipped: str


@dataclass(frozen=True, slots=True)
class Edges:
    """All edges, and how the eager model's rows look at one that stands beside them, or None."""

    edges: tuple[Edge, ...]
    dependence: str | None


@dataclass(frozen=True, slots=True)
class _Runs:
    """The eager model's answers to the batches of all edges; `peaks` and `vanishing` are per row."""

    batched: Answers
    alone: Answers
    exact: Answers
    perturbed: tuple[Answers, Answers]
    peaks: Sequence[float]
    vanishing: Sequence[bool]

    @property
    def all(self) -> tuple[Answers, ...]:
        """All answers, those in float32 first and the exact ones third."""
        return self.batched, self.alone, self.exact, *self.perturbed


def measure(source: ExportSource, reference: Reference) -> Edges:
    """Run the eager model at every edge of every input; one at which it fails is skipped, with its words."""
    tried = [_tried(source, edge) for edge in _made(source)]
    live = [edge for edge in tried if not edge.skipped]
    if not live:
        return Edges(tuple(tried), None)
    try:
        runs, real = _runs(source, [edge.inputs for edge in live]), _runs(source, [_real(source)])
    except ExportError as error:  # in float64 only
        return Edges(tuple(replace(edge, skipped=edge.skipped or str(error)) for edge in tried), None)
    usual = max(real.peaks)
    judged = iter([_judged(edge, index, runs, reference, usual=usual) for index, edge in enumerate(live)])
    changes = (_dependence(edge, index, runs, real, reference) for index, edge in enumerate(live))
    dependence = next((change for change in changes if change is not None), None)
    return Edges(tuple(edge if edge.skipped else next(judged) for edge in tried), dependence)


def _size(source: ExportSource) -> int:
    """Return how many samples one execution takes: the edge between two real rows, where there is room."""
    return min(3, source.signature.max_batch_size)


def _real(source: ExportSource) -> dict[str, Array]:
    """Return the batch that stands around every edge: the first samples."""
    rows = np.arange(max(1, _size(source))) % source.rows
    return {name: array[rows] for name, array in source.samples.items()}


def _made(source: ExportSource) -> Iterator[Edge]:
    """Yield all edges, not yet run."""
    real = _real(source)
    place = min(1, len(next(iter(real.values()))) - 1)
    for spec in source.signature.inputs:
        for name, values in edge_inputs.edges(real[spec.name][place, ...]):
            array = real[spec.name].copy()
            array[place, ...] = values
            yield Edge(spec.name, name, {**real, spec.name: array}, place, {}, "")


def _tried(source: ExportSource, edge: Edge) -> Edge:
    """Return the edge, skipped where the eager model fails at it."""
    try:
        eager.in_float32(source, edge.inputs, batch_size=_size(source))
    except ExportError as error:
        return replace(edge, skipped=str(error))
    return edge


def _runs(source: ExportSource, inputs: Sequence[Tensors]) -> _Runs:
    """Run all batches in every way, one after the other, so that the module is copied to float64 once and not for each."""
    joined = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
    size = _size(source)
    together, _ = eager.perturbed(source, joined, batch_size=size, seed=0)
    apart, modes = eager.perturbed(source, joined, batch_size=min(1, size), seed=1)
    return _Runs(
        batched=eager.in_float32(source, joined, batch_size=size),
        alone=eager.in_float32(source, joined, batch_size=min(1, size)),
        exact=eager.in_float64(source, joined, batch_size=size),
        perturbed=(together, apart),
        peaks=[mode.peak for mode in modes],
        vanishing=[mode.vanishing for mode in modes],
    )


def _judged(edge: Edge, index: int, runs: _Runs, reference: Reference, *, usual: float) -> Edge:
    """Return the edge with what is expected of every output; it is the `index`th of those that were run."""
    rows = len(next(iter(edge.inputs.values())))
    place = index * rows + edge.place
    within = runs.peaks[place] <= max(float(np.finfo(np.float32).max) / SUMMED, _USUAL * usual)
    outputs = {}
    for name, output in reference.outputs.items():
        # Beside the edge are the first samples, which must be answered as they are without it.
        beside = np.arange(rows) % reference.rows
        values, allowed, judged = output.values[beside], output.allowed[beside], ~output.undecided[beside]
        values[edge.place, ...], sure, allowed[edge.place, ...] = _at_edge(name, runs, place)
        judged[edge.place, ...] = sure & within & (not runs.vanishing[place])
        outputs[name] = Expected(values, judged & (output.random is None), allowed)
    return replace(edge, outputs=outputs)


def _at_edge(name: str, runs: _Runs, place: int) -> tuple[Array, Array, Array]:
    """Return what the eager model answers at the edge, which values it is sure of, and what they may differ by."""
    found = [answers.outputs[name][place, ...] for answers in runs.all]
    if not is_discrete(found[0]):
        return found[0], *_sure(found)
    nothing = np.zeros(found[0].shape)
    if not all(name in answers.scores for answers in runs.all):
        return found[0], nothing.astype(np.bool_), nothing
    scores = [answers.scores[name][place, ...] for answers in runs.all]
    sure, allowed = _sure(scores)
    decided = (sure & np.isfinite(scores[0])).all(axis=-1)
    for other in found[1:]:
        decided &= found[0] == other
    if scores[0].shape[-1] > 1:
        best = np.partition(scores[2], -2, axis=-1)
        with np.errstate(invalid="ignore"):  # infinity from infinity: not decided anyway
            decided &= best[..., -1] - best[..., -2] > 2 * allowed.max(axis=-1)
    return found[0], np.asarray(decided), nothing


def _sure(found: Sequence[Array]) -> tuple[Array, Array]:
    """Return which values are of one kind in every run, and what each may differ by where it is a number."""
    values = found[0]
    with np.errstate(over="ignore"):  # what is too large for the output's datatype is infinite in it
        others = [other.astype(values.dtype) for other in found[1:]]
    sure = np.logical_and.reduce([_kinds(values) == _kinds(other) for other in others])
    numbers = sure & np.isfinite(values)
    noise = np.maximum.reduce([tolerance.difference(values, other) for other in others])[numbers]
    allowed = np.zeros(values.shape)
    floors = tolerance.floors(values[numbers], noise)
    allowed[numbers] = np.maximum(
        tolerance.ALLOWED_FLOORS * floors, tolerance.ILL_CONDITIONED * tolerance.scale(values[numbers])
    )
    return np.asarray(sure), allowed


def _kinds(values: Array) -> Array:
    """Return what each value is: 0 a number, 1 infinity, -1 minus infinity, 2 none."""
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _dependence(edge: Edge, index: int, runs: _Runs, real: _Runs, reference: Reference) -> str | None:
    """Return how rows beside the edge change with it, in float64, where there is no rounding to blame."""
    rows = len(next(iter(edge.inputs.values())))
    beside = np.array([row for row in range(rows) if row != edge.place], np.intp)
    for name, output in reference.outputs.items():
        samples = beside % reference.rows
        apart = tolerance.difference(runs.exact.outputs[name][index * rows + beside], real.exact.outputs[name][beside])
        changed = (apart > output.allowed[samples]) & ~output.undecided[samples]
        if output.random is None and changed.any():
            return f"{name}: rows are not independent: {edge.name} in {edge.input!r} of one row changes the row beside it"
    return None
