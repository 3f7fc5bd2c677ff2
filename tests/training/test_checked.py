from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.spec import DataError
from models.tasks import Classification, Novelty, Regression, Task
from tests.training import toys
from training.checked import CheckedSplit
from training.train import train

CLASSES = Classification(3, output="scores")


class Table(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows of two inputs, given one by one."""

    def __init__(self, target: Tensor) -> None:
        self.x = torch.zeros(len(target), 2, 3)
        self.target = target

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"x": self.x[index], "code": torch.tensor(1)}, self.target[index]


class AtOnce(Table):
    """The same, gathered."""

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        return {"x": self.x[indices], "code": torch.ones(len(indices), dtype=torch.int64)}, self.target[indices]


@pytest.mark.parametrize("kind", [Table, AtOnce])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_input_that_is_no_number_is_named_with_its_sample(kind: type[Table], bad: float) -> None:
    table = kind(torch.tensor([0, 1, 2, 0]))
    table.x[2, 1, 0] = bad
    split = CheckedSplit(table, "validation", CLASSES)
    inputs, target = split.__getitems__([3, 1])
    assert inputs["x"].shape == (2, 2, 3)
    assert target.tolist() == [0, 1]
    with pytest.raises(DataError, match=f"^validation split, sample 2: x: expected finite numbers, found {bad}$"):
        split.__getitems__([0, 2])


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (CLASSES, torch.tensor([0, 3]), "target: expected 0 to 2, found 3"),
        (CLASSES, torch.tensor([0, -1]), "target: expected 0 to 2, found -1"),
        (Novelty("score"), torch.tensor([0, 2]), "target: expected 0 to 1, found 2"),
        (Regression("price", "USD"), torch.tensor([0.0, float("nan")]), "target: expected finite numbers, found nan"),
    ],
)
def test_a_target_that_is_none_is_named(task: Task, target: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=f"^train split, sample 1: {message}$"):
        CheckedSplit(Table(target), "train", task).__getitems__([0, 1])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_training_tells_of_a_label_out_of_range_in_any_split(split: str) -> None:
    splits = toys.datasets(Path())
    rows = getattr(splits, split)
    rows.labels[7] = 12
    with pytest.raises(DataError, match=f"^{split} split, sample 7: target: expected 0 to 2, found 12$"):
        train(replace(toys.spec(), datasets=lambda data_dir: splits), replace(toys.RECIPE, epochs=1), device="cpu")
