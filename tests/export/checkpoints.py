"""A model and a checkpoint of it for the tests of export: the tiny classifier with weights that nobody has trained."""

from pathlib import Path

import torch
from torch import nn

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
        datasets=no_datasets,
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


def no_datasets(folder: Path | None) -> Datasets:
    """Refuse: export has no business with training data."""
    raise AssertionError("export asked for the datasets")
