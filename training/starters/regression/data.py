"""442 patients with diabetes: ten measurements of each, and a measure of how the disease had progressed a year later.

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

#: The columns, in their order. A sex is 1 or 2 in the source, which does not say which.
FIELDS = ("age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glucose")

#: Of every so many rows, one is for the test and one for validation.
_PARTS = 5


class Rows(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows in memory: features, FP32 [10], and the target, FP32."""

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
    """Return features [442, 10] and targets [442], FP32."""
    from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True, scaled=False)
    return features.astype(np.float32), targets.astype(np.float32)
