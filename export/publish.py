"""From a model to the next version in the repository: export every format, check each, publish all or nothing."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from export import before_last, by_task, content_parity, edge_parity, edges, golden, parity, reference, runtime_ways
from export.edges import Edge
from export.evidence import Evidence
from export.exporter import BY_TASK, DEFAULT_FORMATS, FORMATS, ExportError, Run, exporter_of
from export.free_axes import Proof, proofs
from export.reference import Reference
from export.subject import Subject
from export.unbatched import without_batch_axis
from models.manifest import Artifact, Manifest
from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from models.signing import Signer
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
class Publication:
    """All that one export came to. `version` is None where nothing was published: a format failed, or it was a dry run.

    `notes` are sentences on the model itself, whatever the format; `faults` are those for which no format is published.
    """

    subject: Subject
    results: tuple[FormatResult, ...]
    version: ModelVersion | None
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model's name."""
        return self.subject.name

    @property
    def passed(self) -> bool:
        """Whether every format exists and agrees with the eager model, and servers read content as training did."""
        return not self.faults and all(result.passed for result in self.results)


@dataclass(frozen=True, slots=True)
class _Truth:
    """What the eager model says on real samples, at the edges of its inputs, and at other lengths of free axes."""

    reference: Reference
    edges: tuple[Edge, ...]
    proofs: tuple[Proof, ...]


def publish(
    subject: Subject,
    repository: Repository,
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    signer: Signer | None = None,
    dry_run: bool = False,
    tell: Callable[[str], None] = lambda step: None,
) -> Publication:
    """Export the model in every format and publish them as its next version if all agree with the eager model.

    A format that fails does not keep the others from being tried. `signer` signs the manifest. `dry_run` checks everything
    and publishes nothing. `tell` hears of each step as it begins. Raise ExportError or RepositoryError where nothing can be
    exported at all; nothing is left behind.
    """
    wanted = tuple(dict.fromkeys(formats))
    for format in wanted:
        if format not in FORMATS:
            raise ExportError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    if not wanted:
        raise ExportError(f"formats: expected one or more of {', '.join(FORMATS)}, found none")
    notes: list[str] = []
    with _workplace(repository, subject.name, dry_run=dry_run) as staged:
        subject, truth = _measured(subject, notes, tell)
        source = subject.source
        results = tuple(_export(format, subject, truth, staged, tell=tell) for format in wanted)
        publication = Publication(subject, results, None, tuple(notes), content_parity.faults(subject))
        if dry_run or not publication.passed:
            return publication
        tell("publishing")
        try:
            sample = golden.write(source, truth.reference, staged, agreeing=_agreeing(results))
        except OSError as error:
            raise RepositoryError(f"cannot write {golden.FILENAME}: {error.strerror or error}") from error
        manifest = Manifest(
            model=subject.name,
            version=0,  # the repository gives the number
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=source.signature,
            content=subject.content,
            artifacts=tuple(result.artifact for result in results if result.artifact is not None),
            golden=sample,
            checkpoint=subject.weights,
            origin=subject.origin,
        )
        return replace(publication, version=repository.publish(staged, manifest, signer=signer))


def _measured(subject: Subject, notes: list[str], tell: Callable[[str], None]) -> tuple[Subject, _Truth]:
    """Measure the eager model; one whose rows depend on each other comes back as one without a batch axis, with a note."""
    source = subject.source
    tell(f"measuring the eager model's noise floor on {source.rows} samples")
    measured = reference.measure(source)
    tell("running the eager model at the edges of its inputs")
    at_edges = edges.measure(source, measured)
    dependence = measured.dependence or at_edges.dependence
    if dependence is None or not source.signature.batched:
        return subject, _Truth(measured, at_edges.edges, tuple(proofs(source)))
    notes.append(f"max_batch_size 0: requests run alone, as {dependence}")
    if subject.content is not None:
        notes.append("no content: it is one row of a batch, and this model has no batch axis; programs send tensors")
    return _measured(replace(subject, source=without_batch_axis(source), content=None), notes, tell)


@contextmanager
def _workplace(repository: Repository, model: str, *, dry_run: bool) -> Iterator[Path]:
    """Give a folder for the artifacts: where the repository can publish it from, or in a dry run anywhere."""
    if not dry_run:
        with repository.staging(model) as staged:
            yield staged
        return
    with tempfile.TemporaryDirectory(prefix="sameway-") as folder:
        yield Path(folder)


def _export(
    format: str,
    subject: Subject,
    truth: _Truth,
    staged: Path,
    *,
    tell: Callable[[str], None],
) -> FormatResult:
    """Write one artifact, open it again and compare; whatever goes wrong is the result."""
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
    sizes = parity.batch_sizes(source.signature)
    company = f"in batches of {', '.join(map(str, sizes))}" if source.signature.batched else "as single requests"
    tell(f"{format}: comparing on {source.rows} samples {company}")
    try:
        run = exporter.open(path, source.signature)
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


def _judged_by_task(format: str, path: Path, run: Run, subject: Subject, truth: _Truth) -> FormatResult:
    """Return what became of a format that is not meant to be equal."""
    source, sizes = subject.source, parity.batch_sizes(subject.source.signature)
    try:
        judged = by_task.judge(format, run, source, truth.reference, subject.held_out, truth.proofs, sizes=sizes)
    except ExportError as error:
        return FormatResult(format, error=str(error))
    artifact = Artifact(format, path.name, sha256_of(path), path.stat().st_size, judged.tolerance, judged.report)
    return FormatResult(format, artifact, judged.faults, evidence=judged.evidence, agreeing=judged.agreeing)


def _agreeing(results: Sequence[FormatResult]) -> Array | None:
    """Return the samples on which every format decides as the eager model does, None where all have to on all."""
    found = [result.agreeing for result in results if result.agreeing is not None]
    return np.logical_and.reduce(found) if found else None
