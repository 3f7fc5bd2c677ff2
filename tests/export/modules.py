"""Tiny serving modules for the tests of export, each with a signature and samples; weights are fixed by a seed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from export.exporter import BY_TASK, FORMATS, ExportSource
from models.tensors import Array, Signature, TensorSpec

MOST = 8

#: Formats that are to be equal to the eager model; test_by_task.py has the others.
EQUAL = [format for format in FORMATS if format not in BY_TASK]


class Classifier(nn.Module):
    """UINT8 [N, 8, 8] → probabilities, class: the shape of `digits`, batch normalisation, cast and softmax included."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.normalisation = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6 * 16, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = image.to(torch.float32).unsqueeze(1) / 255
        features = nn.functional.max_pool2d(self.normalisation(self.convolution(pixels)).relu(), 2)
        logits = 6 * self.linear(features.flatten(1))
        return logits.softmax(-1), logits.argmax(-1)


class Ranker(nn.Module):
    """Two inputs, FP32 [N, 4] and INT64 [N], and two outputs of the same shape, [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.Embedding(7, 4)
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, features: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        mixed = features + self.kinds(kind)
        return self.left(mixed), self.right(mixed).tanh()


class Tagger(nn.Module):
    """INT64 [N, L] with L free → FP32 [N, L, 3] and BOOL [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.linear = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.embedding(tokens)
        context = embedded + embedded.mean(1, keepdim=True)
        return self.linear(context), (tokens == 0).any(1)


class Listener(nn.Module):
    """FP32 [N, 5, 3] → FP32 [N, 4], recurrent, with a sigmoid that comes close to 0: several events at once."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(3, 6, batch_first=True)
        self.linear = nn.Linear(6, 4)

    def forward(self, sound: Tensor) -> tuple[Tensor]:
        states, _ = self.recurrent(sound * 2)
        return ((40 * self.linear(states[:, -1]) - 5).sigmoid(),)


class Stateful(nn.Module):
    """FP32 [T, 3] with T free, a state [1, 6] and a scalar → FP32 [T, 6], the next state: no batch axis anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 6)

    def forward(self, sound: Tensor, state: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        states = self.linear(sound * gain).tanh().cumsum(0) + state
        return states, states[-1:]


def classifier(rows: int = 40, most: int = MOST) -> ExportSource:
    """Return the classifier, on images of which none has black rows only."""
    signature = Signature(
        inputs=(TensorSpec("image", "UINT8", (8, 8)),),
        outputs=(TensorSpec("probabilities", "FP32", (5,)), TensorSpec("class", "INT64", ())),
        max_batch_size=most,
    )
    images = np.random.default_rng(1).integers(0, 256, (rows, 8, 8), dtype=np.uint8)
    return ExportSource(_seeded(Classifier), signature, {"image": images})


def ranker() -> ExportSource:
    """Return the ranker."""
    signature = Signature(
        inputs=(TensorSpec("features", "FP32", (4,)), TensorSpec("kind", "INT64", ())),
        outputs=(TensorSpec("left", "FP32", (3,)), TensorSpec("right", "FP32", (3,))),
        max_batch_size=MOST,
    )
    random = np.random.default_rng(2)
    samples: dict[str, Array] = {
        "features": random.normal(size=(30, 4)).astype(np.float32),
        "kind": random.integers(0, 7, 30),
    }
    return ExportSource(_seeded(Ranker), signature, samples)


def tagger() -> ExportSource:
    """Return the tagger, on sequences of 9 tokens."""
    signature = Signature(
        inputs=(TensorSpec("tokens", "INT64", (None,)),),
        outputs=(TensorSpec("tags", "FP32", (None, 3)), TensorSpec("padded", "BOOL", ())),
        max_batch_size=MOST,
    )
    return ExportSource(_seeded(Tagger), signature, {"tokens": np.random.default_rng(3).integers(0, 11, (25, 9))})


def listener() -> ExportSource:
    """Return the listener, on enough samples that small values have a floor of their own."""
    signature = Signature(
        inputs=(TensorSpec("sound", "FP32", (5, 3)),), outputs=(TensorSpec("events", "FP32", (4,)),), max_batch_size=MOST
    )
    return ExportSource(_seeded(Listener), signature, {"sound": numbers(150, 15).reshape(150, 5, 3)})


def stateful() -> ExportSource:
    """Return the stateful module, on twelve requests of five steps."""
    signature = Signature(
        inputs=(TensorSpec("sound", "FP32", (None, 3)), TensorSpec("state", "FP32", (1, 6)), TensorSpec("gain", "FP32", ())),
        outputs=(TensorSpec("states", "FP32", (None, 6)), TensorSpec("next", "FP32", (1, 6))),
        max_batch_size=0,
    )
    samples = {
        "sound": numbers(12 * 5, 3).reshape(12, 5, 3),
        "state": numbers(12, 6, seed=5).reshape(12, 1, 6),
        "gain": np.linspace(0.5, 2, 12, dtype=np.float32),
    }
    return ExportSource(_seeded(Stateful), signature, samples)


def single() -> ExportSource:
    """Return the classifier as a model that takes one row at a time."""
    return classifier(rows=6, most=1)


def of(function: Callable[[Tensor], tuple[Tensor, ...]], *outputs: TensorSpec, samples: Array) -> ExportSource:
    """Return a model without weights: `function` of one FP32 input `x`, whose samples are given."""

    class Function(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return function(x)

    signature = Signature((TensorSpec("x", "FP32", samples.shape[1:]),), outputs, MOST)
    return ExportSource(Function().eval(), signature, {"x": samples})


def numbers(rows: int, columns: int, seed: int = 4) -> Array:
    """Return normally distributed float32."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()
