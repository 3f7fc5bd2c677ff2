"""From a checkpoint to the next version in the repository: export every format, check each, publish all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from export import golden, parity, reference
from export.exporter import DEFAULT_FORMATS, DEFAULTS, FORMATS, ExportError, ExportSource, Options, exporter_of
from export.free_axes import Proof, proofs
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
    """What became of one format: an artifact with its parity and a sentence per fault, or the error why there is none.

    `exported` tells whether there was a file at all: one that this machine cannot open has an error too.
    """

    format: str
    artifact: Artifact | None = None
    faults: tuple[str, ...] = ()
    error: str | None = None
    exported: bool = True

    @property
    def passed(self) -> bool:
        """Whether the artifact exists and agrees with the eager model."""
        return self.artifact is not None and self.artifact.parity.passed and not self.faults


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
    options: Options = DEFAULTS,
    data_dir: Path | None = None,
    signer: Signer | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Publication:
    """Export the checkpoint in every format and publish them as the model's next version if all agree with the eager model.

    A format that fails does not keep the others from being tried. `signer` signs the manifest. `tell` hears of each step as
    it begins. Raise CheckpointError, DataError, ExportError or RepositoryError where nothing can be exported at all; nothing
    is left behind.
    """
    wanted = tuple(dict.fromkeys(formats))
    for format in wanted:
        if format not in FORMATS:
            raise ExportError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    if not wanted:
        raise ExportError(f"formats: expected one or more of {', '.join(FORMATS)}, found none")
    with repository.staging(spec.name) as staged:
        tell("rebuilding the network from its checkpoint")
        source = source_of(spec, checkpoint, options=options, data_dir=data_dir)
        tell(f"measuring the eager model's noise floor on {source.rows} samples")
        measured = reference.measure(source)
        others = proofs(source)
        results = tuple(_export(format, source, measured, others, staged, tell=tell) for format in wanted)
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


def source_of(
    spec: ModelSpec, checkpoint: Checkpoint, *, options: Options = DEFAULTS, data_dir: Path | None = None
) -> ExportSource:
    """Return what exporters work from: the trained serving module in eval mode, and real held-out samples."""
    network = spec.build()
    checkpoints.restore(checkpoint, network)
    module = spec.serving_module(network).eval()
    samples = spec.samples(max(SAMPLES, spec.signature.max_batch_size), data_dir)
    return ExportSource(module, spec.signature, samples, options)


def _export(
    format: str,
    source: ExportSource,
    measured: Reference,
    others: Sequence[Proof],
    staged: Path,
    *,
    tell: Callable[[str], None],
) -> FormatResult:
    """Write one artifact, open it again and compare; whatever goes wrong is the result."""
    try:
        exporter = exporter_of(format)
    except ExportError as error:  # its package is missing, which says nothing of the other formats
        return FormatResult(format, error=str(error), exported=False)
    path = staged / exporter.filename
    try:
        tell(f"{format}: exporting")
        exporter.export(source, path)
    except ExportError as error:
        return FormatResult(format, error=str(error), exported=False)
    except OSError as error:
        return FormatResult(format, error=f"{format}: cannot write {path.name}: {error.strerror or error}", exported=False)
    sizes = parity.batch_sizes(source.signature)
    tell(f"{format}: comparing on {source.rows} samples in batches of {', '.join(map(str, sizes))}")
    try:
        run = exporter.open(path, source.signature)
    except ExportError as error:
        # The file may be right, for other machines: nobody knows, so it is not published.
        return FormatResult(format, error=f"{error}; exported, but not checked here")
    comparison = parity.compare(format, run, measured, sizes=sizes)
    faults = [fault for proof in others if (fault := proof.fault(format, run)) is not None]
    artifact = Artifact(
        format=format,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        tolerance={name: output.tolerance for name, output in measured.outputs.items()},
        parity=comparison.report,
    )
    return FormatResult(format, artifact, (*comparison.faults, *faults))
