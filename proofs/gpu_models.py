"""Two convolutional networks to try a GPU with, published in both of torch's formats: one all launching, one of work.

Weights are random and fixed. What a network should answer is computed in FP64 on the CPU, and what FP32 on the CPU differs
from it says how much two machines may rightly differ.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import Repository, sha256_of
from models.tensors import Array, Signature, TensorSpec

FORMATS = {"exported_program": "model.pt2", "torchscript": "model.pt"}
CLASSES = 10

#: Convolution algorithms of a GPU sum in other orders, and some transform their inputs first, which costs a few bits.
_NOISE_MARGIN = 64

#: What is between the layers of the large network takes 8 MB an image in FP64.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Network:
    """A network's name, the shape of its images, UINT8, how wide it is and the largest batch."""

    name: str
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    rows: int = 64

    def build(self) -> nn.Module:
        """Return the network, the same on every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _Classifier(self.shape[0], self.channels).eval()

    def images(self, count: int, seed: int) -> Array:
        """Return images of 4 × 4 patches, and some noise: all differ, and so do their answers."""
        draws = np.random.default_rng(seed)
        depth, height, width = self.shape
        patches = draws.integers(0, 224, (count, depth, 4, 4), dtype=np.uint8)
        large = patches.repeat(height // 4, axis=2).repeat(width // 4, axis=3)
        noisy: Array = large + draws.integers(0, 32, large.shape, dtype=np.uint8)
        return noisy

    @property
    def signature(self) -> Signature:
        """What goes in and comes out."""
        outputs = (TensorSpec("scores", "FP32", (CLASSES,)), TensorSpec("class", "INT64", ()))
        return Signature((TensorSpec("image", "UINT8", self.shape),), outputs, self.rows)


#: Some 0.1 ms of a processor an image, and some 10 ms.
SMALL = Network("small", (1, 28, 28), (16, 32))
LARGE = Network("large", (3, 128, 128), (64, 128, 256))


class _Classifier(nn.Module):
    """Convolutions that halve the image, and a linear layer on what is left of it."""

    def __init__(self, depth: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(255.0))
        self.scale: torch.Tensor
        layers: list[nn.Module] = []
        for before, after in zip((depth, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels[-1] * 16, CLASSES))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Scores of about one, so that an absolute tolerance means something.
        scores = self.layers(image.to(self.scale.dtype) / self.scale - 0.5) * 10
        return scores, scores.argmax(1)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a network should answer, and how far an answer's scores may be from it in FP32."""

    scores: Array
    classes: Array
    tolerance: float

    @property
    def margin(self) -> Array:
        """How sure each answer is: its best score less the second."""
        ordered = np.sort(self.scores, axis=1)
        margin: Array = ordered[:, -1] - ordered[:, -2]
        return margin

    @property
    def alike(self) -> int:
        """How many answers are so near to the next one's that an exchange of both would not be noticed."""
        ordered = self.scores[np.lexsort(self.scores.T)]
        return int((np.abs(np.diff(ordered, axis=0)).max(axis=1) <= 2 * self.tolerance).sum())


def reference(network: Network, images: Array) -> Reference:
    """Compute what a network answers."""
    module, double = network.build(), network.build().double()
    scores, classes, noise = [], [], 0.0
    with torch.inference_mode():
        for start in range(0, len(images), _AT_ONCE):
            given = torch.from_numpy(images[start : start + _AT_ONCE])
            exact, decided = double(given)
            noise = max(noise, float((exact - module(given)[0]).abs().max()))
            scores.append(exact.numpy().astype(np.float32))
            classes.append(decided.numpy())
    return Reference(np.concatenate(scores), np.concatenate(classes), _NOISE_MARGIN * max(noise, 1e-7))


def publish(root: Path, network: Network) -> None:
    """Publish a network in both formats, its golden sample the surest of some answers: those that no rounding turns."""
    images = network.images(64, seed=99)
    wanted = reference(network, images)
    surest = np.sort(np.argsort(wanted.margin)[-8:])
    repository = Repository(root)
    with repository.staging(network.name) as staged:
        for format, file in FORMATS.items():
            _WRITERS[format](network, staged / file)
        golden = staged / "golden.npz"
        arrays = {
            "input:image": images[surest], "output:scores": wanted.scores[surest], "output:class": wanted.classes[surest],
        }  # fmt: skip
        np.savez(golden, allow_pickle=False, **arrays)
        tolerance = {"scores": wanted.tolerance, "class": 0.0}
        manifest = Manifest(
            model=network.name,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=network.signature,
            content=None,
            artifacts=tuple(_artifact(format, staged / file, tolerance) for format, file in FORMATS.items()),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=len(surest)),
            checkpoint="0" * 64,
            origin=Origin(network.name, "0" * 64, 0, {}, {}, {}, None, None),
        )
        repository.publish(staged, manifest)


def _artifact(format: str, path: Path, tolerance: dict[str, float]) -> Artifact:
    parity = tuple(OutputParity(name, 0.0, 0.0, 0.0, allowed, None, 0, True) for name, allowed in tolerance.items())
    report = ParityReport(format, (1,), 8, parity)
    return Artifact(format, path.name, sha256_of(path), path.stat().st_size, tolerance, report)


def _write_torchscript(network: Network, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        traced = torch.jit.trace(network.build(), torch.from_numpy(network.images(2, seed=1)))  # type: ignore[no-untyped-call]
        traced.save(path)


def _write_exported_program(network: Network, path: Path) -> None:
    example = torch.from_numpy(network.images(2, seed=1))
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(network.build(), (example,), dynamic_shapes=shapes, strict=False)
    # What torch would write as pickles and as Python has no place in a published version (models/program.py).
    program.example_inputs = None
    program._guards_code = []
    program.graph_module.meta.clear()
    for node in program.graph_module.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making, in some of its releases
        torch.export.save(program, path)


_WRITERS: dict[str, Callable[[Network, Path], None]] = {
    "exported_program": _write_exported_program,
    "torchscript": _write_torchscript,
}
