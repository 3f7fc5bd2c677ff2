"""Toys of the other kinds, with checkpoints that nobody has trained: a price, a novelty, a text's class."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from models.content import Content, ImageContent, LabelContent, RecordContent, RecordField, TextContent, ValueContent
from models.manifest import Origin
from models.spec import Datasets, ModelSpec, Recipe
from models.tasks import Classification, Novelty, Regression
from models.tensors import Array, Signature, TensorSpec
from training import checkpoint
from training.checkpoint import Checkpoint
from training.loaders import Batch

CHECKSUM = "7" * 64
RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=0.1, weight_decay=0.0)

#: Words that a page must not take for its own, and a terminal not for commands.
TEXTS = ("<script>alert('ant')</script>", "bee & \x1b[31mbee", "a cat", "ants" * 150)
LABELS = ("<b>ant</b>", "$bee$", "cat")


class Items(Dataset[Batch]):
    """A dataset of a list, gathered at once."""

    def __init__(self, inputs: Sequence[dict[str, Tensor]], targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Batch:
        return self._inputs[index], self._targets[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = [self._inputs[index] for index in indices]
        padded = {name: nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True) for name in rows[0]}
        return padded, self._targets[indices]


class Price(nn.Module):
    """The price of a gem: of its weight, and of its colour's place."""

    def __init__(self, slope: float = 100.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, numbers: Tensor, kinds: Tensor) -> Tensor:
        return self.slope * numbers[:, 0] + 10 * kinds[:, 0].float()


class Spread(nn.Module):
    """How unlike its own mean an image is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image.float().flatten(1).std(dim=1)


class Letters(nn.Module):
    """The class of a text by its bytes' mean embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(256, len(LABELS), padding_idx=0)

    def forward(self, text: Tensor) -> Tensor:
        logits: Tensor = self.embedding(text.long()).sum(1) / (text > 0).sum(1, keepdim=True)
        return logits


class One(nn.Module):
    """A network with the one output it gives, as it is served."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.network(*inputs),)


class Labelled(nn.Module):
    """Logits and the class that they decide for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(text)
        return logits, logits.argmax(-1)


def gems(folder: Path | None = None) -> Datasets:
    """Return 60 gems whose price is their weight's hundredfold, their colour's tenfold, and a few dollars of chance."""
    choices = torch.Generator().manual_seed(0)
    weights, colours = torch.rand(60, 1, generator=choices), torch.randint(0, 3, (60, 1), generator=choices)
    prices = 100 * weights[:, 0] + 10 * colours[:, 0] + torch.randn(60, generator=choices)
    rows = [{"numbers": weights[row], "kinds": colours[row]} for row in range(60)]
    split = Items(rows, prices.float())
    return Datasets(split, split, split, CHECKSUM)


def images(folder: Path | None = None) -> Datasets:
    """Return 30 faint images, which are familiar, and 20 of more contrast, which are foreign."""
    choices = torch.Generator().manual_seed(0)
    limits = [100] * 30 + [140] * 20
    rows = [{"image": torch.randint(0, most, (4, 4), generator=choices).to(torch.uint8)} for most in limits]
    split = Items(rows, torch.tensor([0] * 30 + [1] * 20))
    return Datasets(split, split, split, CHECKSUM)


def texts(folder: Path | None = None) -> Datasets:
    """Return TEXTS ten times over, with classes that no network could guess."""
    content = TextContent("text", 1024, 8)
    rows = [{"text": torch.from_numpy(content.to_array(text.encode()))} for text in TEXTS * 10]
    split = Items(rows, torch.arange(40) % 3)
    return Datasets(split, split, split, CHECKSUM)


def _no_samples(count: int, folder: Path | None) -> dict[str, Array]:
    raise AssertionError("an evaluation draws no samples")


def regression() -> ModelSpec:
    """Return the price of gems: records in, a value out."""
    fields = (RecordField("carat", "numbers", 0), RecordField("colour", "kinds", 0, ("D", "E", "F & <i>")))
    inputs = (TensorSpec("numbers", "FP32", (1,)), TensorSpec("kinds", "INT64", (1,)))
    return ModelSpec(
        "gems",
        Signature(inputs, (TensorSpec("price", "FP32", ()),), 8),
        Content(RecordContent(fields), ValueContent("price", "USD")),
        Regression("price", "USD"),
        RECIPE, Price, gems, One, _no_samples,
    )  # fmt: skip


def novelty() -> ModelSpec:
    """Return the spread of images: images in, a value out."""
    return ModelSpec(
        "spread",
        Signature((TensorSpec("image", "UINT8", (4, 4)),), (TensorSpec("novelty", "FP32", ()),), 8),
        Content(ImageContent("image", 4, 4, "L"), ValueContent("novelty", "")),
        Novelty("novelty"),
        RECIPE, Spread, images, One, _no_samples,
    )  # fmt: skip


def language() -> ModelSpec:
    """Return the class of texts: texts in, a label out, by logits."""
    outputs = (TensorSpec("logits", "FP32", (len(LABELS),)), TensorSpec("class", "INT64", ()))
    return ModelSpec(
        "letters",
        Signature((TensorSpec("text", "UINT8", (None,)),), outputs, 8),
        Content(TextContent("text", 1024, 8), LabelContent(LABELS, "class", "logits")),
        Classification(len(LABELS), "logits"),
        RECIPE, Letters, texts, Labelled, _no_samples,
    )  # fmt: skip


def save(spec: ModelSpec, folder: Path, network: nn.Module | None = None, *, data: str = CHECKSUM) -> Checkpoint:
    """Write a checkpoint of a network as it is built, or of the one given."""
    origin = Origin(spec.name, data, 0, {}, {}, {}, None, None)
    return checkpoint.save(network or spec.build(), origin, folder)
