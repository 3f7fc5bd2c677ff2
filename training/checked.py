"""Checked data: no sample reaches a network that holds no number, or whose target is none of the task's.

A single NaN spoils every weight in one step, and a label out of range ends a CUDA process in an assertion without a name.
Here the sample is still known by its place in the split, so that is what is told.
"""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.spec import DataError
from models.tasks import Classification, Regression, Task
from training.loaders import Batch, collate, size_of


class CheckedSplit(Dataset[Batch]):
    """A split by its name ("train", …); batches of it are gathered, and raise DataError for a sample that is no good."""

    def __init__(self, samples: Dataset[Batch], name: str, task: Task) -> None:
        self._samples = samples
        self._name = name
        self._task = task

    def __len__(self) -> int:
        return size_of(self._samples)

    def __getitem__(self, index: int) -> Batch:
        return self._samples[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        at_once = getattr(self._samples, "__getitems__", None)
        batch = collate([self._samples[index] for index in indices] if at_once is None else at_once(indices))
        inputs, target = batch
        for name, tensor in inputs.items():
            if tensor.is_floating_point():
                self._check_finite(name, tensor, indices)
        self._check_targets(target, indices)
        return batch

    def _check_targets(self, target: Tensor, indices: list[int]) -> None:
        if isinstance(self._task, Regression):
            self._check_finite("target", target, indices)
            return
        count = self._task.classes if isinstance(self._task, Classification) else 2
        wrong = (target < 0) | (target >= count)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            self._refuse("target", indices[row], f"expected 0 to {count - 1}", target[row].item())

    def _check_finite(self, name: str, tensor: Tensor, indices: list[int]) -> None:
        finite = torch.isfinite(tensor)
        if not finite.all():
            place = (~finite).nonzero()[0]
            self._refuse(name, indices[int(place[0])], "expected finite numbers", tensor[tuple(place)].item())

    def _refuse(self, name: str, index: int, expected: str, found: object) -> None:
        raise DataError(f"{self._name} split, sample {index}: {name}: {expected}, found {found}")
