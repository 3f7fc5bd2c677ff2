"""From a checkpoint to the next version in the repository: export every format, check each, publish all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from export import golden, parity, reference
from export.exporter import FORMATS, Exporter, ExportError, ExportSource, exporter_of
from export.parity import Comparison
from export.reference import Reference
from models.manifest import Artifact, Manifest
from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from models.spec import ModelSpec
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint

#: Held-out samples that parity looks at. Enough that a fault in one weight meets an input which shows it (docs/export.md
#: has the figures), and few enough that checking takes seconds.
SAMPLES = 512


@dataclass(frozen=True, slots=True)
class FormatResult:
    """What became of one format: a comparison, or the reason why there is none."""

    format: str
    size_bytes: int | None = None
    comparison: Comparison | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the artifact exists and agrees with the eager model."""
        return self.comparison is not None and self.comparison.report.passed


@dataclass(frozen=True, slots=True)
class Publication:
    """All that one export came to. `version` is None unless every format passed: then nothing was published."""

    model: str
    results: tuple[FormatResult, ...]
    version: ModelVersion | None


def publish_checkpoint(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    repository: Repository,
    formats: Sequence[str] = tuple(FORMATS),
    *,
    data_dir: Path | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Publication:
    """Export the checkpoint in every format and publish them as the model's next version if all agree with the eager model.

    A format that fails does not keep the others from being tried. `tell` hears of each step as it begins. Raise
    CheckpointError, DataError, ExportError or RepositoryError where nothing can be exported at all; nothing is left behind.
    """
    exporters = [exporter_of(format) for format in dict.fromkeys(formats)]
    if not exporters:
        raise ExportError(f"formats: expected one or more of {', '.join(FORMATS)}, found none")
    with repository.staging(spec.name) as staged:
        tell("rebuilding the network from its checkpoint")
        source = source_of(spec, checkpoint, data_dir=data_dir)
        tell(f"measuring the eager model's noise floor on {source.rows} samples")
        measured = reference.measure(source)
        results, artifacts = [], []
        for exporter in exporters:
            result = _export(exporter, source, measured, staged, tell=tell)
            results.append(result)
            if result.passed:
                artifacts.append(_artifact(result, staged / exporter.filename, measured))
        if len(artifacts) < len(exporters):
            return Publication(spec.name, tuple(results), None)
        tell("publishing")
        try:
            sample = golden.write(source, measured, staged)
        except OSError as error:
            raise RepositoryError(f"cannot write {golden.FILENAME}: {error.strerror or error}") from error
        manifest = Manifest(
            model=spec.name,
            version=0,  # the repository gives the number
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=spec.signature,
            content=spec.content,
            artifacts=tuple(artifacts),
            golden=sample,
            checkpoint=checkpoint.sha256,
            origin=checkpoint.origin,
        )
        return Publication(spec.name, tuple(results), repository.publish(staged, manifest))


def source_of(spec: ModelSpec, checkpoint: Checkpoint, *, data_dir: Path | None = None) -> ExportSource:
    """Return what exporters work from: the trained serving module in eval mode, and real held-out samples."""
    network = spec.build()
    checkpoints.restore(checkpoint, network)
    module = spec.serving_module(network).eval()
    return ExportSource(module, spec.signature, spec.samples(max(SAMPLES, spec.signature.max_batch_size), data_dir))


def _export(
    exporter: Exporter, source: ExportSource, measured: Reference, staged: Path, *, tell: Callable[[str], None]
) -> FormatResult:
    """Write one artifact, open it again and compare."""
    path = staged / exporter.filename
    sizes = parity.batch_sizes(source.signature)
    try:
        tell(f"{exporter.format}: exporting")
        exporter.export(source, path)
        tell(f"{exporter.format}: comparing on {source.rows} samples in batches of {', '.join(map(str, sizes))}")
        comparison = parity.compare(exporter.format, exporter.open(path, source.signature), measured, sizes=sizes)
        return FormatResult(exporter.format, path.stat().st_size, comparison)
    except ExportError as error:
        return FormatResult(exporter.format, error=str(error))
    except OSError as error:
        return FormatResult(exporter.format, error=f"{exporter.format}: cannot write {path.name}: {error.strerror or error}")


def _artifact(result: FormatResult, path: Path, measured: Reference) -> Artifact:
    if result.comparison is None or result.size_bytes is None:
        raise ValueError(f"{result.format}: not exported")
    return Artifact(
        format=result.format,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=result.size_bytes,
        tolerance={name: output.tolerance for name, output in measured.outputs.items()},
        parity=result.comparison.report,
    )
