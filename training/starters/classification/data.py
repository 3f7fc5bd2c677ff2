"""150 irises: four lengths of each in centimetres, and which of three species it is.

The table comes with scikit-learn. Every fifth row is for the test, the row after it for validation: fixed without a
generator, whose numbers another version of a library may change.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.spec import DataError, Datasets
from models.tensors import Array

#: The columns, in their order.
FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")

#: What a class is called.
LABELS = ("setosa", "versicolor", "virginica")

#: Of every so many rows, one is for the test and one for validation.
_PARTS = 5


class Rows(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows in memory: features, FP32 [4], and the class, INT64."""

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
    place = np.arange(len(targets)) % _PARTS
    return [Rows(features[rows], targets[rows]) for rows in (place > 1, place == 1, place == 0)]


def _table() -> tuple[Array, Array]:
    """Return features FP32 [150, 4] and classes INT64 [150]. They stand in the order of the species."""
    from sklearn.datasets import load_iris

    features, targets = load_iris(return_X_y=True)
    return features.astype(np.float32), targets.astype(np.int64)
