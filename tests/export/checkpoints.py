"""A model and a checkpoint of it for the tests of export: the tiny classifier with weights that nobody has trained."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from models.content import Content, ImageContent, LabelContent
from models.manifest import Origin
from models.spec import Datasets, ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Array, rows_of
from tests.export import modules
from training import checkpoint
from training.checkpoint import Checkpoint

ORIGIN = Origin(
    model="toy",
    data="d" * 64,
    seed=0,
    recipe={"epochs": 0},
    scores={"accuracy": 0.2},
    libraries={"torch": torch.__version__},
    commit=None,
    dirty=None,
)


def spec(name: str = "toy") -> ModelSpec:
    """Return the classifier as a model, with 50 samples."""
    source = modules.classifier(rows=50)
    return ModelSpec(
        name=name,
        signature=source.signature,
        content=Content(
            ImageContent("image", 8, 8, "L"), LabelContent(tuple("abcde"), decision="class", scores="probabilities")
        ),
        task=Classification(classes=5, output="probabilities"),
        recipe=Recipe(epochs=1, batch_size=8, learning_rate=0.1, weight_decay=0.0),
        build=modules.Classifier,
        datasets=datasets,
        serving_module=itself,
        samples=lambda count, folder: rows_of(source.samples, 0, count),
    )


def save(folder: Path, network: nn.Module | None = None, origin: Origin = ORIGIN) -> Checkpoint:
    """Write a checkpoint of the classifier, or of the network given."""
    return checkpoint.save(network or modules.classifier().module, origin, folder)


def images() -> Array:
    """Return the model's samples."""
    return modules.classifier(rows=50).samples["image"]


def itself(network: nn.Module) -> nn.Module:
    """Return the network: it is its own serving module."""
    return network


def datasets(folder: Path | None) -> Datasets:
    """Return the samples as a held-out split: export reads a few as training would, and has no business with others."""
    held_out = Items([({"image": torch.from_numpy(image)}, torch.tensor(0)) for image in images()])
    return Datasets(Items([]), Items([]), held_out, "d" * 64)


class Items(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """A dataset of a list."""

    def __init__(self, items: list[tuple[dict[str, Tensor], Tensor]]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return self._items[index]
