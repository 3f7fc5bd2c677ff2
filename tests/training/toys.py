"""A tiny model for the tests of training: which of three rows of a 4 × 4 image is the bright one. It learns in a second."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from models.content import Content, ImageContent, LabelContent
from models.spec import Datasets, ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Array, Signature, TensorSpec

CLASSES = 3
CHECKSUM = "5" * 64
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05, weight_decay=0.01, label_smoothing=0.1)


class Rows(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Samples made up from a seed; it offers them one by one only."""

    def __init__(self, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, CLASSES, (size,), generator=generator)
        self.images = torch.randint(0, 160, (size, 4, 4), generator=generator, dtype=torch.uint8)
        self.images[torch.arange(size), self.labels] += 80

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": self.images[index]}, self.labels[index]


class Network(nn.Module):
    """Batch normalisation, which is off for a single row, and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.normalisation = nn.BatchNorm1d(16)
        self.linear = nn.Linear(16, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.normalisation(image.float().flatten(1) / 255))
        return logits


class Serving(nn.Module):
    """The network with softmax and argmax."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(image)
        return logits.softmax(-1), logits.argmax(-1)


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return 90 samples to train on, 30 to validate, 40 to test."""
    return Datasets(Rows(90, seed=1), Rows(30, seed=2), Rows(40, seed=3), CHECKSUM)


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return test images."""
    return {"image": Rows(40, seed=3).images[:count].numpy()}


def jitter(inputs: dict[str, Tensor] | object) -> dict[str, Tensor]:
    """Add noise drawn from torch's global generator."""
    assert isinstance(inputs, dict)
    return {"image": inputs["image"].float() + 5 * torch.randn(inputs["image"].shape)}


def spec(build: Callable[[], nn.Module] = Network) -> ModelSpec:
    """Return the toy, with another network if given."""
    return ModelSpec(
        name="toy",
        signature=Signature(
            inputs=(TensorSpec("image", "UINT8", (4, 4)),),
            outputs=(TensorSpec("scores", "FP32", (CLASSES,)), TensorSpec("class", "INT64", ())),
            max_batch_size=8,
        ),
        content=Content(ImageContent("image", 4, 4, "L"), LabelContent(("top", "middle", "low"), "class", "scores")),
        task=Classification(CLASSES, output="scores"),
        recipe=RECIPE,
        build=build,
        datasets=datasets,
        serving_module=Serving,
        samples=samples,
        augment=jitter,
    )
