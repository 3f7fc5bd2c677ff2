"""Parity: the saved file, opened as a stranger would, against the eager model on the same real samples.

Every sample goes through the file at every batch size, so that a batch axis which is only declared free, or a row that
looks at its neighbours, shows. What may differ, and by how much, `reference.py` has measured before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export import batches, distances, evidence, tolerance
from export.evidence import Evidence
from export.exporter import Run, first_line
from export.reference import OutputReference, Reference
from models import chance
from models.manifest import OutputParity, ParityReport
from models.tensors import Array, Signature

#: Besides the largest: alone, the smallest company, and an odd number that no vector unit or unrolled loop divides.
_BATCH_SIZES = (1, 2, 7)

#: Per batch size, what the artifact answered execution by execution.
_Answers = Mapping[int, Sequence[Mapping[str, Array]]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A parity report, one sentence for each output that did not pass, and evidence for each that could be compared."""

    report: ParityReport
    faults: tuple[str, ...]
    evidence: Mapping[str, Evidence]


def batch_sizes(signature: Signature) -> tuple[int, ...]:
    """Return the batch sizes to try, ascending; ALONE where there is no batch axis."""
    most = signature.max_batch_size
    if not signature.batched:
        return (batches.ALONE,)
    return tuple(sorted({size for size in _BATCH_SIZES if size < most} | {most}))


def compare(format: str, run: Run, reference: Reference, *, sizes: Sequence[int]) -> Comparison:
    """Run an opened artifact on all samples at each batch size and judge every output.

    Whatever the artifact raises is a fault of the artifact: it becomes part of the report.
    """
    answers: dict[int, list[dict[str, Array]]] = {}
    failure = None
    for size in sizes:
        try:
            answers[size] = [run(batch) for batch in batches.cut(reference.signature, reference.inputs, size)]
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own, and a stranger meets them all
            failure = failure or f"cannot run on {_company(size)}: {first_line(error)}"
    judged = [_judge(output, reference.signature, answers, failure) for output in reference.outputs.values()]
    notes = [f"{name}: {note}" for name, output in reference.outputs.items() for note in _notes(output)]
    if failure is None:
        notes += _baked(run, reference, answers)
    report = ParityReport(format, tuple(sizes), reference.rows, tuple(parity for parity, _, _ in judged), tuple(notes))
    return Comparison(
        report,
        tuple(f"{parity.output}: {fault}" for parity, fault, _ in judged if fault is not None),
        {parity.output: evidence for parity, _, evidence in judged if evidence is not None},
    )


def _judge(
    output: OutputReference, signature: Signature, answers: _Answers, failure: str | None
) -> tuple[OutputParity, str | None, Evidence | None]:
    """Return the parity of one output, why it did not pass, if so, and what there is to show of it."""
    fault = output.fault or output.dependence or failure or _misfit(output, signature, answers)
    if fault is not None:
        nothing = 0.0 if output.discrete else None
        return _parity(output, max_absolute=math.inf, max_relative=math.inf, equal_decisions=nothing), fault, None
    name = output.spec.name
    found = np.stack([batches.joined(signature, [part[name] for part in parts]) for parts in answers.values()])
    if output.random is not None:
        faults = (chance.unlike(once, output.values) for once in found)
        fault = next((fault for fault in faults if fault is not None), None)
        return _parity(output, passed=fault is None), fault, None
    apart = tolerance.difference(found, output.values)
    equal = found == output.values
    wrong = ~equal & ~output.undecided if output.discrete else ~(apart <= output.allowed)
    parity = _parity(
        output,
        max_absolute=float(np.max(apart, initial=0.0)),
        max_relative=distances.largest_share(apart, output.values),
        max_ulp=None if output.discrete else distances.largest_ulp(apart, output.values),
        min_cosine=None if output.discrete else distances.smallest_cosine(found, output.values),
        equal_decisions=float(np.mean(equal)) if output.discrete else None,
        worst_sample=int(np.unravel_index(np.argmax(apart), apart.shape)[1]) if apart.size else 0,
        passed=not wrong.any(),
    )
    fault = None if parity.passed else _explain(output, tuple(answers), found, wrong)
    return parity, fault, evidence.gather(apart, output.values, found)


def _parity(
    output: OutputReference,
    *,
    max_absolute: float = 0.0,
    max_relative: float = 0.0,
    max_ulp: float | None = None,
    min_cosine: float | None = None,
    equal_decisions: float | None = None,
    worst_sample: int = 0,
    passed: bool = False,
) -> OutputParity:
    """Return what was found, beside what the reference allows."""
    floor = None if output.discrete or output.random else output.floor
    return OutputParity(
        output=output.spec.name,
        max_absolute=max_absolute,
        max_relative=max_relative,
        noise_floor=output.floor.largest,
        tolerance=output.tolerance,
        equal_decisions=equal_decisions,
        worst_sample=worst_sample,
        passed=passed,
        random=output.random is not None,
        max_ulp=max_ulp,
        min_cosine=min_cosine,
        floor_float64=None if floor is None else floor.float64,
        floor_alone=None if floor is None else floor.alone,
        floor_ulp=None if floor is None else floor.ulp,
        atol=output.atol,
        rtol=output.rtol,
    )


def _notes(output: OutputReference) -> list[str]:
    """Return what a reader should know of an output although it may pass."""
    return [note for note in (output.random, output.conditioned) if note is not None]


def _baked(run: Run, reference: Reference, answers: _Answers) -> list[str]:
    """Return which random outputs the file answers alike when it is asked once more."""
    names = [name for name, output in reference.outputs.items() if output.random is not None]
    if not names:
        return []
    size, (before, *_) = max(answers.items())
    try:
        after = run(batches.cut(reference.signature, reference.inputs, size)[0])
    except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
        return [f"cannot be run on the same inputs twice: {first_line(error)}"]
    alike = [name for name in names if name in before and name in after and _alike(before[name], after[name])]
    return [f"{name}: the file answers the same thing twice, where the eager model does not" for name in alike]


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and not tolerance.difference(one, other).any()


def _company(size: int) -> str:
    """Return what ran, in words."""
    return f"batches of {size}" if size else "single requests"


def _misfit(output: OutputReference, signature: Signature, answers: _Answers) -> str | None:
    """Return how the answers to some batch differ from the signature in name, datatype or shape, or None."""
    name = output.spec.name
    for size, parts in answers.items():
        for part, wanted in zip(parts, batches.cut(signature, {name: output.values}, size), strict=True):
            expected, found = wanted[name], part.get(name)
            if found is None:
                return f"expected an output of this name, found {', '.join(part) or 'none'}"
            if found.dtype != expected.dtype:
                return f"expected {expected.dtype}, found {found.dtype}"
            if found.shape != expected.shape:
                where = f"a batch of {len(expected)}" if signature.batched else _company(size)
                return f"expected shape {list(expected.shape)} on {where}, found {list(found.shape)}"
    return None


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
        f"{np.count_nonzero(wrong):,} of {wrong.size:,} values are off; worst: sample {place[0]} in "
        f"{_company(sizes[batch])}: expected {expected} ({bound}), found {given}"
    )
