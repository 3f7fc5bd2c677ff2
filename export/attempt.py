"""One format: its file written, opened again, and held against all that the eager model says.

`publish.py` does this for each format that is wanted, and publishes all or nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from export import before_last, by_task, edge_parity, edges, parity, reference, runtime_ways
from export.edges import Edge
from export.evidence import Evidence
from export.exporter import BY_TASK, ExportError, Run, exporter_of
from export.free_axes import Proof, proofs
from export.reference import Reference
from export.subject import Subject
from export.unbatched import without_batch_axis
from models.manifest import Artifact
from models.repository import sha256_of
from models.tensors import Array


@dataclass(frozen=True, slots=True)
class FormatResult:
    """What became of one format: an artifact with its parity and a sentence per fault, or the error why there is none.

    `exported` tells whether there was a file at all: one that this machine cannot open has an error too. `evidence` is what
    reports show, per output that could be compared. `agreeing` are the samples on which all decisions are equal, None where
    they all have to be.
    """

    format: str
    artifact: Artifact | None = None
    faults: tuple[str, ...] = ()
    error: str | None = None
    exported: bool = True
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    agreeing: Array | None = None

    @property
    def passed(self) -> bool:
        """Whether the artifact exists and agrees with the eager model."""
        return self.artifact is not None and self.artifact.parity.passed and not self.faults


@dataclass(frozen=True, slots=True)
class Truth:
    """What the eager model says on real samples, at the edges of its inputs, and at other lengths of free axes."""

    reference: Reference
    edges: tuple[Edge, ...]
    proofs: tuple[Proof, ...]


def measured(subject: Subject, notes: list[str], tell: Callable[[str], None]) -> tuple[Subject, Truth]:
    """Measure the eager model; one whose rows depend on each other comes back as one without a batch axis, with a note.

    `notes` is added to; `tell` hears of each step. Raise ExportError where the model cannot be run.
    """
    source = subject.source
    tell(f"measuring the eager model's noise floor on {source.rows} samples")
    answers = reference.measure(source)
    tell("running the eager model at the edges of its inputs")
    at_edges = edges.measure(source, answers)
    dependence = answers.dependence or at_edges.dependence
    if dependence is None or not source.signature.batched:
        return subject, Truth(answers, at_edges.edges, tuple(proofs(source)))
    notes.append(f"max_batch_size 0: requests run alone, as {dependence}")
    if subject.content is not None:
        notes.append("no content: it is one row of a batch, and this model has no batch axis; programs send tensors")
    return measured(replace(subject, source=without_batch_axis(source), content=None), notes, tell)


def attempt(format: str, subject: Subject, truth: Truth, staged: Path, *, tell: Callable[[str], None]) -> FormatResult:
    """Write one artifact into the folder, open it again and compare; whatever goes wrong is the result."""
    try:
        exporter = exporter_of(format)
    except ExportError as error:  # its package is missing, which says nothing of the other formats
        return FormatResult(format, error=str(error), exported=False)
    source = subject.source
    if format in BY_TASK and subject.calibration is not None:
        source = replace(source, calibration=subject.calibration())
    path = staged / exporter.filename
    try:
        tell(f"{format}: exporting")
        exporter.export(source, path)
    except ExportError as error:
        return FormatResult(format, error=str(error), exported=False)
    except OSError as error:
        return FormatResult(format, error=f"{format}: cannot write {path.name}: {error.strerror or error}", exported=False)
    return judged(format, path, subject, truth, tell=tell)


def judged(format: str, path: Path, subject: Subject, truth: Truth, *, tell: Callable[[str], None]) -> FormatResult:
    """Open a file that is there, as a stranger would, and compare it, wherever it came from."""
    source = subject.source
    sizes = parity.batch_sizes(source.signature)
    company = f"in batches of {', '.join(map(str, sizes))}" if source.signature.batched else "as single requests"
    tell(f"{format}: comparing on {source.rows} samples {company}")
    try:
        run = exporter_of(format).open(path, source.signature)
    except ExportError as error:
        # The file may be right, for other machines: nobody knows, so it is not published.
        return FormatResult(format, error=f"{error}; exported, but not checked here")
    if format in BY_TASK:
        return _judged_by_task(format, path, run, subject, truth)
    comparison = parity.compare(format, run, truth.reference, sizes=sizes)
    at_edges = edge_parity.compare(run, source.signature, truth.edges, ways=runtime_ways.ways(path))
    inside = before_last.compare(path, truth.reference, sizes=sizes)
    faults = [fault for proof in truth.proofs if (fault := proof.fault(format, run)) is not None]
    report = replace(
        comparison.report,
        edges=at_edges.edges,
        before_last=inside.outputs,
        notes=(*comparison.report.notes, *inside.notes, *at_edges.notes),
    )
    artifact = Artifact(
        format=format,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        tolerance={name: output.tolerance for name, output in truth.reference.outputs.items() if output.random is None},
        parity=report,
    )
    found = (*comparison.faults, *inside.faults, *at_edges.faults, *faults)
    return FormatResult(format, artifact, found, evidence=comparison.evidence)


def _judged_by_task(format: str, path: Path, run: Run, subject: Subject, truth: Truth) -> FormatResult:
    """Return what became of a format that is not meant to be equal."""
    source, sizes = subject.source, parity.batch_sizes(subject.source.signature)
    try:
        judged = by_task.judge(format, run, source, truth.reference, subject.held_out, truth.proofs, sizes=sizes)
    except ExportError as error:
        return FormatResult(format, error=str(error))
    artifact = Artifact(format, path.name, sha256_of(path), path.stat().st_size, judged.tolerance, judged.report)
    return FormatResult(format, artifact, judged.faults, evidence=judged.evidence, agreeing=judged.agreeing)
