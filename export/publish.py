"""From a model to the next version in the repository: export every format, check each, publish all or nothing."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from export import content_parity, golden
from export.attempt import FormatResult, attempt, measured
from export.exporter import DEFAULT_FORMATS, FORMATS, ExportError
from export.subject import Subject
from models.manifest import Manifest
from models.repository import ModelVersion, Repository, RepositoryError
from models.signing import Signer
from models.tensors import Array


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
        subject, truth = measured(subject, notes, tell)
        source = subject.source
        results = tuple(attempt(format, subject, truth, staged, tell=tell) for format in wanted)
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


@contextmanager
def _workplace(repository: Repository, model: str, *, dry_run: bool) -> Iterator[Path]:
    """Give a folder for the artifacts: where the repository can publish it from, or in a dry run anywhere."""
    if not dry_run:
        with repository.staging(model) as staged:
            yield staged
        return
    with tempfile.TemporaryDirectory(prefix="sameway-") as folder:
        yield Path(folder)


def _agreeing(results: Sequence[FormatResult]) -> Array | None:
    """Return the samples on which every format decides as the eager model does, None where all have to on all."""
    found = [result.agreeing for result in results if result.agreeing is not None]
    return np.logical_and.reduce(found) if found else None
