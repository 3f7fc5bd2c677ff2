"""569 lumps of the breast: ten measurements of the cells of each, and whether it was benign.

The table comes with scikit-learn. Of the benign, every fifth row is for the test, the row after it for validation: fixed
without a generator, whose numbers another version of a library may change. The malignant are all foreign, and in the test.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.spec import DataError, Datasets
from models.tensors import Array

#: The columns, in their order: means over the cells of a sample.
FIELDS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)

#: Of every so many familiar rows, one is for the test and one for validation.
_PARTS = 5


class Rows(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows in memory: features, FP32 [10], and the target, INT64: 0 for a familiar row, 1 for a foreign one."""

    def __init__(self, features: Array, targets: Array) -> None:
        self.features = torch.from_numpy(features)
        self.targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"features": self.features[index]}, self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        return {"features": self.features[indices]}, self.targets[indices]


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return the three splits; raise DataError for a folder, as these data are not read from one."""
    if data_dir is not None:
        raise DataError(f"{data_dir}: these data come with scikit-learn; expected no --data-dir")
    features, targets = _table()
    train, validation, test = _splits()
    return Datasets(train, validation, test, hashlib.sha256(features.tobytes() + targets.tobytes()).hexdigest())


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return the first `count` rows of the test split, or all of them where there are fewer."""
    *_, test = _splits()
    return {"features": test.features[:count].numpy()}


def _splits() -> list[Rows]:
    """Return the rows for training, validation and test."""
    features, targets = _table()
    foreign = targets == 1
    place = (np.cumsum(~foreign) - 1) % _PARTS
    chosen = (~foreign & (place > 1), ~foreign & (place == 1), foreign | (place == 0))
    return [Rows(features[rows], targets[rows]) for rows in chosen]


def _table() -> tuple[Array, Array]:
    """Return features FP32 [569, 10] and, INT64 [569], 0 for a benign lump and 1 for a malignant one."""
    from sklearn.datasets import load_breast_cancer

    features, benign = load_breast_cancer(return_X_y=True)
    return features[:, : len(FIELDS)].astype(np.float32), (1 - benign).astype(np.int64)
