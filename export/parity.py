"""Parity: the saved file, opened as a stranger would, against the eager model on the same real samples.

Every sample goes through the file at every batch size, so that a batch axis which is only declared free, or a row that
looks at its neighbours, shows. What may differ, and by how much, `reference.py` has measured before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export import evidence, tolerance
from export.evidence import Evidence
from export.exporter import Run, first_line
from export.reference import OutputReference, Reference
from models.manifest import OutputParity, ParityReport
from models.tensors import Array, Signature, Tensors, rows_of

#: Besides the largest: alone, the smallest company, and an odd number that no vector unit or unrolled loop divides.
_BATCH_SIZES = (1, 2, 7)

#: Per batch size, what the artifact answered batch by batch.
_Batches = Mapping[int, Sequence[Mapping[str, Array]]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A parity report, one sentence for each output that did not pass, and evidence for each that could be compared."""

    report: ParityReport
    faults: tuple[str, ...]
    evidence: Mapping[str, Evidence]


def batch_sizes(signature: Signature) -> tuple[int, ...]:
    """Return the batch sizes to try, ascending."""
    most = signature.max_batch_size
    return tuple(sorted({size for size in _BATCH_SIZES if size < most} | {most}))


def compare(format: str, run: Run, reference: Reference, *, sizes: Sequence[int]) -> Comparison:
    """Run an opened artifact on all samples at each batch size and judge every output.

    Whatever the artifact raises is a fault of the artifact: it becomes part of the report.
    """
    batches: dict[int, list[dict[str, Array]]] = {}
    failure = None
    for size in sizes:
        try:
            batches[size] = _answer(run, reference.inputs, size)
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own, and a stranger meets them all
            failure = failure or f"cannot run on batches of {size}: {first_line(error)}"
    judged = [_judge(output, batches, failure) for output in reference.outputs.values()]
    report = ParityReport(format, tuple(sizes), reference.rows, tuple(parity for parity, _, _ in judged))
    return Comparison(
        report,
        tuple(f"{parity.output}: {fault}" for parity, fault, _ in judged if fault is not None),
        {parity.output: evidence for parity, _, evidence in judged if evidence is not None},
    )


def _answer(run: Run, inputs: Tensors, size: int) -> list[dict[str, Array]]:
    rows = len(next(iter(inputs.values())))
    return [run(rows_of(inputs, start, start + size)) for start in range(0, rows, size)]


def _judge(
    output: OutputReference, batches: _Batches, failure: str | None
) -> tuple[OutputParity, str | None, Evidence | None]:
    """Return the parity of one output, why it did not pass, if so, and what there is to show of it."""
    fault = output.fault or failure or _misfit(output, batches)
    if fault is not None:
        nothing = 0.0 if output.discrete else None
        unmeasured = OutputParity(
            output.spec.name, math.inf, math.inf, output.noise_floor, output.tolerance, nothing, worst_sample=0, passed=False
        )
        return unmeasured, fault, None
    name = output.spec.name
    found = np.stack([np.concatenate([part[name] for part in parts]) for parts in batches.values()])
    apart = tolerance.difference(found, output.values)
    equal = found == output.values
    wrong = ~equal & ~output.undecided if output.discrete else ~(apart <= output.allowed)
    parity = OutputParity(
        output=name,
        max_absolute=float(np.max(apart, initial=0.0)),
        max_relative=_largest_share(apart, output.values),
        noise_floor=output.noise_floor,
        tolerance=output.tolerance,
        equal_decisions=float(np.mean(equal)) if output.discrete else None,
        worst_sample=int(np.unravel_index(np.argmax(apart), apart.shape)[1]) if apart.size else 0,
        passed=not wrong.any(),
    )
    fault = None if parity.passed else _explain(output, tuple(batches), found, wrong)
    return parity, fault, evidence.gather(apart, output.values, found)


def _misfit(output: OutputReference, batches: _Batches) -> str | None:
    """Return how the answers to some batch differ from the signature in name, datatype or shape, or None."""
    name = output.spec.name
    for size, parts in batches.items():
        start = 0
        for part in parts:
            expected = output.values[start : start + size]
            start += size
            found = part.get(name)
            if found is None:
                return f"expected an output of this name, found {', '.join(part) or 'none'}"
            if found.dtype != expected.dtype:
                return f"expected {expected.dtype}, found {found.dtype}"
            if found.shape != expected.shape:
                return f"expected shape {list(expected.shape)} on a batch of {len(expected)}, found {list(found.shape)}"
    return None


def _largest_share(apart: Array, values: Array) -> float:
    """Return the largest difference relative to its reference, over those that are neither 0 nor infinite nor NaN."""
    magnitudes = np.abs(values.astype(np.float64))
    counts = np.isfinite(magnitudes) & (magnitudes > 0)
    return float(np.max(apart[:, counts] / magnitudes[counts], initial=0.0))


def _explain(output: OutputReference, sizes: Sequence[int], found: Array, wrong: Array) -> str:
    """Return where the artifact is furthest out of bounds: which sample and batch size, found and expected."""
    bound = "equal"
    furthest = wrong.astype(np.float64)
    if not output.discrete:
        with np.errstate(divide="ignore", invalid="ignore"):
            furthest = np.where(wrong, tolerance.difference(found, output.values) / output.allowed, 0.0)
    batch, *place = (int(index) for index in np.unravel_index(np.argmax(furthest), wrong.shape))
    expected, given = output.values[*place], found[batch, *place]
    if not output.discrete:
        bound = f"±{output.allowed[*place]:.2g}"
        expected, given = f"{expected:.9g}", f"{given:.9g}"  # 9 digits tell any two float32 apart
    return (
        f"{np.count_nonzero(wrong):,} of {wrong.size:,} values are off; worst: sample {place[0]} in batches of "
        f"{sizes[batch]}: expected {expected} ({bound}), found {given}"
    )
