"""Loaders: a split of a dataset as batches, in an order that the seed alone decides.

Data that is in memory is gathered a batch at a time in this process: worker processes would only copy it about.
"""

from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

#: An item of a dataset, or a batch of them: inputs by name, and targets.
Batch: TypeAlias = tuple[dict[str, Tensor], Tensor]
Loader: TypeAlias = DataLoader[Batch]

#: Scores need no gradients, so more samples fit at once; 256 fill a small network's cores without filling the caches.
_SCORING_BATCH = 256


def training_loader(dataset: Dataset[Batch], batch_size: int, *, seed: int) -> Loader:
    """Return batches in a new random order every epoch.

    A last, smaller batch is left out, as batch normalisation makes its few samples count for more than all others do;
    a set of less than a batch is one batch.
    """
    generator = torch.Generator().manual_seed(seed)
    complete = len(dataset) >= batch_size  # type: ignore[arg-type]  # torch's Dataset does not promise a length
    return DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        generator=generator,
        drop_last=complete,
        collate_fn=_collate,
    )


def scoring_loader(dataset: Dataset[Batch]) -> Loader:
    """Return every sample once, in the dataset's order."""
    return DataLoader(dataset, _SCORING_BATCH, collate_fn=_collate)


def _collate(items: list[Batch] | Batch) -> Batch:
    """Return one batch; a dataset with `__getitems__` has gathered it already (see models.spec.Datasets)."""
    if isinstance(items, tuple):
        return items
    batch: Batch = tuple(default_collate(items))
    return batch
