"""What is exported: a module with real inputs for it, and what a manifest says of where its weights came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.by_task import HeldOut
from export.exporter import DEFAULTS, ExportSource, Options
from export.held_out import gathered
from models.content import Content
from models.manifest import Origin
from models.spec import ModelSpec
from models.tensors import Tensors
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint

#: Held-out samples that parity looks at. A fault in one weight must meet an input that shows it: of the 400 weights of
#: digits' first convolution, each changed by 1 %, all are caught with 128 samples, the faintest at 2.4 times the tolerance.
#: Four times as many, because the next network may be surer of most of them; they take a second or two.
SAMPLES = 512


#: Held-out inputs that are read as training reads them and as a server does: a decoder that is wrong is wrong for most.
_READ = 16


@dataclass(frozen=True, slots=True)
class Subject:
    """One model to be exported and published.

    name     the model's name in the repository
    source   the module in eval mode, its signature, real samples and what was chosen of the formats
    content  what a person sends and reads instead of tensors; None for tensors only
    weights  the SHA-256 of the weights file
    origin   where the weights came from
    pipeline gives some held-out inputs as training reads them, each without a batch axis; None where nobody knows
    held_out gives the split that scores are computed of, for formats that are judged by them; None where there is none
    calibration gives inputs that are not held out, for formats that have to see some; None where there are no others
    """

    name: str
    source: ExportSource
    content: Content | None
    weights: str
    origin: Origin
    pipeline: Callable[[], Sequence[Tensors]] | None = None
    held_out: Callable[[], HeldOut] | None = None
    calibration: Callable[[], Tensors] | None = None


def of_checkpoint(
    spec: ModelSpec, checkpoint: Checkpoint, *, options: Options = DEFAULTS, data_dir: Path | None = None
) -> Subject:
    """Rebuild a trained network in its serving form; raise CheckpointError, DataError or ExportError."""
    network = spec.build()
    checkpoints.restore(checkpoint, network)
    module = spec.serving_module(network).eval()
    samples = spec.samples(max(SAMPLES, spec.signature.max_batch_size), data_dir)
    source = ExportSource(module, spec.signature, samples, options)

    def pipeline() -> list[Tensors]:
        held_out = spec.datasets(data_dir).test
        return [{name: tensor.numpy() for name, tensor in held_out[index][0].items()} for index in range(_READ)]

    def held_out() -> HeldOut:
        split = spec.datasets(data_dir).test
        return HeldOut(spec.task, *gathered(split, len(split)))  # type: ignore[arg-type]  # ours have a length

    def calibration() -> Tensors:
        split = spec.datasets(data_dir).train
        return gathered(split, min(SAMPLES, len(split)))[0]  # type: ignore[arg-type]

    return Subject(spec.name, source, spec.content, checkpoint.sha256, checkpoint.origin, pipeline, held_out, calibration)
