"""Loaders: a split of a dataset as batches, in an order that the seed alone decides, shared out among processes.

Data that is in memory is gathered a batch at a time in this process: worker processes would only copy it about. A batch is
the same however many processes there are: each takes its share of it, so that a step sees the same samples on one device
or on many.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, default_collate

#: An item of a dataset, or a batch of them: inputs by name, and targets.
Batch: TypeAlias = tuple[dict[str, Tensor], Tensor]
Loader: TypeAlias = DataLoader[Batch]

#: Scores need no gradients, so more samples fit at once; 256 fill a small network's cores without filling the caches.
_SCORING_BATCH = 256


class Seat(NamedTuple):
    """This process among those that train together: its rank, from 0, and how many there are."""

    rank: int
    processes: int


ALONE = Seat(0, 1)


class Shares(Sampler[list[int]]):
    """This process's share of every batch, as indices of samples; `latest` is the share drawn last."""

    def __init__(self, batches: BatchSampler, seat: Seat) -> None:
        self._batches = batches
        self._seat = seat
        self.latest: list[int] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            self.latest = batch[self._seat.rank :: self._seat.processes]
            yield self.latest


def training_loader(dataset: Dataset[Batch], batch_size: int, *, seed: int, seat: Seat = ALONE) -> Loader:
    """Return batches in a new random order every epoch; its `generator`, seeded here, decides them.

    A last, smaller batch is left out, as batch normalisation makes its few samples count for more than all others do;
    a set of less than a batch is one batch. `batch_size` counts the samples of all processes.
    """
    generator = torch.Generator().manual_seed(seed)
    complete = size_of(dataset) >= batch_size
    order = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]  # torch wants a length promised
    shares = Shares(BatchSampler(order, batch_size, drop_last=complete), seat)
    return DataLoader(dataset, batch_sampler=shares, generator=generator, collate_fn=collate)


def scoring_loader(dataset: Dataset[Batch], seat: Seat = ALONE) -> Loader:
    """Return every sample once, in the dataset's order; to each of several processes its share.

    No sample is repeated to make the shares equal, as torch's DistributedSampler does: it would count twice. All processes
    get the same number of batches, because networks that keep statistics exchange them before each one.
    """
    rank, processes = seat
    if processes == 1:
        return DataLoader(dataset, _SCORING_BATCH, collate_fn=collate)
    size = size_of(dataset)
    largest = math.ceil(size / processes)
    count = max(1, math.ceil(largest / _SCORING_BATCH))
    own = range(rank, size, processes)
    batches = [list(own[turn::count]) for turn in range(count)]
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate)


def collate(items: list[Batch] | Batch) -> Batch:
    """Return one batch; a dataset with `__getitems__` has gathered it already (see models.spec.Datasets)."""
    if isinstance(items, tuple):
        return items
    batch: Batch = tuple(default_collate(items))
    return batch


def size_of(dataset: Dataset[Batch]) -> int:
    """Return the number of samples, which torch's Dataset does not promise to know."""
    return len(dataset)  # type: ignore[arg-type]
