"""Formats that are not the eager model any more: judged by what they cost at the model's task, on its held-out split.

Eight or sixteen bits answer otherwise, and no tolerance of parity would say whether that matters. Two things are demanded.
The artifact is better than `max_drop` below the eager model even at the worse end of the 95 % interval of the difference
(a test of non-inferiority), so that a small split proves nothing by luck. And every output resembles the eager model's,
in names, datatypes and shapes, at every batch size, and by more than half, so that no output is lost that no score looks at.
What the artifact was seen to differ by, with a margin, is what serving allows when it replays the golden sample.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from export import batches, eager, parity
from export.evidence import Evidence
from export.exporter import ExportError, ExportSource, Run, first_line
from export.free_axes import Proof
from export.reference import OutputReference, Reference
from models.parity import ParityReport, TaskParity
from models.tasks import Task
from models.tensors import Array, Tensors
from training import bootstrap, scores

#: Of the largest difference that was seen, what a replay may show: processors round integers and halves each in their way.
_MARGIN = 2.0

#: The root mean square of the differences, as a share of the output's own spread, above which an output is another one.
MOST_NOISE = 0.5


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The split that scores are computed of: inputs and targets, one row for each sample, and what the task is."""

    task: Task
    inputs: Tensors
    targets: Array


@dataclass(frozen=True, slots=True)
class Judgement:
    """The report, a sentence for each fault, what a replay may differ by, and on which samples all decisions are equal."""

    report: ParityReport
    faults: tuple[str, ...]
    evidence: dict[str, Evidence]
    tolerance: dict[str, float]
    agreeing: Array


def judge(
    format: str,
    run: Run,
    source: ExportSource,
    reference: Reference,
    held_out: Callable[[], HeldOut] | None,
    proofs: Sequence[Proof],
    *,
    sizes: Sequence[int],
) -> Judgement:
    """Judge an opened artifact; raise ExportError where there is no split to judge it by, or it cannot be run on that."""
    if held_out is None:
        expected = "a held-out split with targets, as models of this tree have"
        raise ExportError(f"{format}: not judged: expected {expected}, found none")
    comparison = parity.compare(format, run, _loose(reference), sizes=sizes)
    faults = list(comparison.faults)
    faults += [fault for proof in proofs if (fault := _at(proof).fault(format, run)) is not None]
    agreeing = np.ones(reference.rows, np.bool_)
    outputs = []
    for found in comparison.report.outputs:
        output = reference.outputs[found.output]
        tolerance = 0.0 if output.discrete or not found.passed else _MARGIN * found.max_absolute
        outputs.append(replace(found, tolerance=tolerance))
    if not faults:
        strange, agreeing = _resemblance(run, reference, sizes)
        faults += strange
    task = _cost(format, run, source, held_out()) if not faults else None
    if task is not None and not task.passed:
        faults.append(f"{task.metric}: {_sentence(task)}")
    passed = {found.output: not any(fault.startswith(f"{found.output}: ") for fault in faults) for found in outputs}
    report = replace(
        comparison.report,
        outputs=tuple(replace(found, passed=found.passed and passed[found.output]) for found in outputs),
        task=task,
        notes=(*comparison.report.notes, "judged by its task: edges and what is before the last step are not compared"),
    )
    tolerances = {found.output: found.tolerance for found in outputs if not found.random}
    return Judgement(report, tuple(faults), dict(comparison.evidence), tolerances, agreeing)


def _cost(format: str, run: Run, source: ExportSource, held_out: HeldOut) -> TaskParity:
    """Return the scores of the eager model and of the artifact on the same samples, and the interval of their difference."""
    task, signature = held_out.task, source.signature
    size = signature.max_batch_size or batches.ALONE
    before = eager.in_float32(source, held_out.inputs, batch_size=size).outputs[task.output]
    try:
        after = batches.run_all(run, signature, held_out.inputs, batch_size=size)[task.output]
    except Exception as error:  # each runtime has errors of its own
        raise ExportError(f"{format}: cannot be run on the held-out split: {first_line(error)}") from error
    targets = held_out.targets
    first, second = (scores.scores(task, answers, targets) for answers in (before, after))
    metric = next(iter(first))
    drop = scores.drop(task, before, after, targets)
    strata = targets if metric == "auroc" else None  # both kinds must be in every draw
    low, high = bootstrap.interval(drop, len(targets), strata=strata)
    return TaskParity(
        metric=metric,
        samples=len(targets),
        eager=first[metric].value,
        artifact=second[metric].value,
        drop=drop(np.arange(len(targets))),
        low=low,
        high=high,
        most=source.options.max_drop,
    )


def _sentence(task: TaskParity) -> str:
    return (
        f"{task.artifact:.4f} instead of the eager model's {task.eager:.4f} on {task.samples:,} samples: a drop of "
        f"{task.drop:.2%} (95 % interval {task.low:.2%} to {task.high:.2%}), "
        f"expected at most {task.most:.2%} at its upper end"
    )


def _loose(reference: Reference) -> Reference:
    """Return the reference with any finite difference and any decision allowed."""
    return replace(reference, outputs={name: _unbound(output) for name, output in reference.outputs.items()})


def _unbound(output: OutputReference) -> OutputReference:
    most = np.full(output.values.shape, np.finfo(np.float64).max)
    return replace(output, allowed=most, undecided=np.ones(output.values.shape, np.bool_))


def _at(proof: Proof) -> Proof:
    return replace(proof, reference=_loose(proof.reference))


def _resemblance(run: Run, reference: Reference, sizes: Sequence[int]) -> tuple[list[str], Array]:
    """Return which outputs are others than the eager model's, and the samples on which every decision is equal."""
    faults = []
    agreeing = np.ones(reference.rows, np.bool_)
    answers = [batches.run_all(run, reference.signature, reference.inputs, batch_size=size) for size in sizes]
    for name, output in reference.outputs.items():
        if output.random is not None:
            continue
        for found in (answer[name] for answer in answers):
            if output.discrete:
                agreeing &= (found == output.values).reshape(reference.rows, -1).all(axis=1)
            elif (noise := _noise(found, output.values)) > MOST_NOISE:
                faults.append(f"{name}: differs by {noise:.0%} of its own spread, expected at most {MOST_NOISE:.0%}")
                break
    return faults, agreeing


def _noise(found: Array, expected: Array) -> float:
    """Return the root mean square of the differences as a share of the standard deviation of what was expected."""
    numbers = np.isfinite(expected)
    wanted = expected[numbers].astype(np.float64)
    spread = float(wanted.std()) if wanted.size else 0.0
    apart = scores.rmse(found[numbers].astype(np.float64) - wanted) if wanted.size else 0.0
    return apart / spread if spread else 0.0
