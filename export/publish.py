"""From a checkpoint to the next version in the repository: export every format, check each, publish all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from export import golden, parity, reference
from export.exporter import DEFAULT_FORMATS, FORMATS, Exporter, ExportError, ExportSource, exporter_of
from export.reference import Reference
from models.manifest import Artifact, Manifest
from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from models.signing import Signer
from models.spec import ModelSpec
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint

#: Held-out samples that parity looks at. A fault in one weight must meet an input that shows it: of the 400 weights of
#: digits' first convolution, each changed by 1 %, all are caught with 128 samples, the faintest at 2.4 times the tolerance.
#: Four times as many, because the next network may be surer of most of them; they take a second or two.
SAMPLES = 512


@dataclass(frozen=True, slots=True)
class FormatResult:
    """What became of one format: an artifact with its parity and a sentence per fault, or the error why there is none."""

    format: str
    artifact: Artifact | None = None
    faults: tuple[str, ...] = ()
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the artifact exists and agrees with the eager model."""
        return self.artifact is not None and self.artifact.parity.passed


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
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    data_dir: Path | None = None,
    signer: Signer | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Publication:
    """Export the checkpoint in every format and publish them as the model's next version if all agree with the eager model.

    A format that fails does not keep the others from being tried. `signer` signs the manifest. `tell` hears of each step as
    it begins. Raise CheckpointError, DataError, ExportError or RepositoryError where nothing can be exported at all; nothing
    is left behind.
    """
    exporters = [exporter_of(format) for format in dict.fromkeys(formats)]
    if not exporters:
        raise ExportError(f"formats: expected one or more of {', '.join(FORMATS)}, found none")
    with repository.staging(spec.name) as staged:
        tell("rebuilding the network from its checkpoint")
        source = source_of(spec, checkpoint, data_dir=data_dir)
        tell(f"measuring the eager model's noise floor on {source.rows} samples")
        measured = reference.measure(source)
        results = tuple(_export(exporter, source, measured, staged, tell=tell) for exporter in exporters)
        if not all(result.passed for result in results):
            return Publication(spec.name, results, None)
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
            artifacts=tuple(result.artifact for result in results if result.artifact is not None),
            golden=sample,
            checkpoint=checkpoint.sha256,
            origin=checkpoint.origin,
        )
        return Publication(spec.name, results, repository.publish(staged, manifest, signer=signer))


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
        artifact = Artifact(
            format=exporter.format,
            file=path.name,
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            tolerance={name: output.tolerance for name, output in measured.outputs.items()},
            parity=comparison.report,
        )
    except ExportError as error:
        return FormatResult(exporter.format, error=str(error))
    except OSError as error:
        return FormatResult(exporter.format, error=f"{exporter.format}: cannot write {path.name}: {error.strerror or error}")
    return FormatResult(exporter.format, artifact, comparison.faults)
