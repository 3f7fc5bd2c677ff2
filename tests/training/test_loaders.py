from collections.abc import Sequence

import pytest
import torch
from torch.utils.data import Subset

from models.digits import data
from tests.training.toys import Rows
from training.loaders import Loader, Seat, scoring_loader, training_loader


def order(loader: Loader) -> list[int]:
    """Return the first pixel of every sample, batch by batch."""
    return [int(pixel) for inputs, _ in loader for pixel in inputs["image"][:, 3, 0]]


def test_the_seed_alone_decides_the_order() -> None:
    rows = Rows(64, seed=0)
    torch.manual_seed(1)
    first = order(training_loader(rows, 16, seed=5))
    torch.manual_seed(2)
    assert order(training_loader(rows, 16, seed=5)) == first
    assert order(training_loader(rows, 16, seed=6)) != first


def test_every_epoch_has_an_order_of_its_own_with_every_sample_once() -> None:
    rows = Rows(64, seed=0)
    loader = training_loader(rows, 16, seed=5)
    first, second = order(loader), order(loader)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(rows.images[:, 3, 0].tolist())


@pytest.mark.parametrize(
    ("size", "batch", "expected"), [(64, 16, [16] * 4), (65, 16, [16] * 4), (5, 16, [5]), (16, 16, [16])]
)
def test_a_small_last_batch_is_left_out_unless_it_is_the_only_one(size: int, batch: int, expected: Sequence[int]) -> None:
    assert [len(target) for _, target in training_loader(Rows(size, seed=0), batch, seed=0)] == expected


def test_scoring_takes_every_sample_once_in_order() -> None:
    rows = Rows(600, seed=0)
    batches = list(scoring_loader(rows))
    assert torch.equal(torch.cat([inputs["image"] for inputs, _ in batches]), rows.images)
    assert torch.equal(torch.cat([target for _, target in batches]), rows.labels)


def test_gathering_at_once_gives_what_joining_one_by_one_does() -> None:
    class OneByOne(Rows):
        def __init__(self, split: data.Digits) -> None:
            self.images, self.labels = split.images, split.labels

    split = data.datasets().validation
    assert isinstance(split, data.Digits)
    for at_once in (split, Subset(split, range(500))):
        for (inputs, target), (slow, slow_target) in zip(
            scoring_loader(at_once), scoring_loader(OneByOne(split)), strict=True
        ):
            assert torch.equal(inputs["image"], slow["image"])
            assert torch.equal(target, slow_target)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_very_batches_that_one_would_take(processes: int) -> None:
    rows = Rows(100, seed=0)
    whole = training_loader(rows, 12, seed=5)
    shares = [training_loader(rows, 12, seed=5, seat=Seat(rank, processes)) for rank in range(processes)]
    for _ in range(2):  # epochs
        batches = [batch.tolist() for _, batch in ((inputs, target) for inputs, target in whole)]
        parts = [[target.tolist() for _, target in share] for share in shares]
        assert len({len(part) for part in parts}) == 1
        for step, batch in enumerate(batches):
            assert sorted(batch) == sorted(label for part in parts for label in part[step])
            assert [part[step] for part in parts] == [batch[rank::processes] for rank in range(processes)]


@pytest.mark.parametrize(("size", "processes"), [(600, 2), (513, 2), (3, 2), (5, 4), (1025, 3), (4, 4)])
def test_scores_count_every_sample_once_however_many_share_them(size: int, processes: int) -> None:
    rows = Rows(size, seed=0)
    rows.labels = torch.arange(size)
    parts = [[target for _, target in scoring_loader(rows, Seat(rank, processes))] for rank in range(processes)]
    assert len({len(part) for part in parts}) == 1  # or networks that exchange statistics would wait for ever
    assert all(0 < len(target) <= 256 for part in parts for target in part)
    assert torch.equal(torch.cat([target for part in parts for target in part]).sort().values, rows.labels)
