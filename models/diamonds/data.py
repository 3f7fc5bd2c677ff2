"""Diamonds in three splits, cut by stone: many stones are in the table twice, and no stone is in two splits.

Nothing is drawn at random. A stone's split, and its place in it, are read off the SHA-256 of what it is known by, so they
outlive libraries, generators and the order of the file.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.diamonds import table
from models.diamonds.table import Stones
from models.spec import DataError, Datasets
from models.tensors import Array

#: The checksum of the splits of the plotnine wheel's table: it guards this code, as table.py's guards the data.
_SPLITS_SHA256 = "e17c6701c1d3b38c1fcc1a8115c4b190728842108a7f905f0f4f467c045c6504"

#: Shares of the stones that test and validate; the rest train.
_TEST, _VALIDATION = 0.2, 0.1


class Diamonds(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Rows of the table in memory as a torch dataset; the target is the price in USD, FP32.

    `identities` [n] tell which rows are the same stone: those with the same number.
    """

    def __init__(self, stones: Stones, identities: npt.NDArray[np.uint64]) -> None:
        self.numbers = torch.from_numpy(stones.numbers)
        self.grades = torch.from_numpy(stones.grades)
        self.prices = torch.from_numpy(stones.prices)
        self.identities = identities

    def __len__(self) -> int:
        return len(self.prices)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"numbers": self.numbers[index], "grades": self.grades[index]}, self.prices[index]

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        return {"numbers": self.numbers[indices], "grades": self.grades[indices]}, self.prices[indices]


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return the splits of a folder's table or, without one, of the wheel's; raise DataError for a damaged one."""
    train, validation, test = splits(data_dir)
    checksum = _checksum((train, validation, test))
    if data_dir is None and checksum != _SPLITS_SHA256:
        raise DataError(f"splits of {table.NAME}: expected sha256 {_SPLITS_SHA256}, found {checksum}")
    return Datasets(train, validation, test, checksum)


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return the first `count` rows of the test split, in the order of their hashes; ValueError if it has fewer."""
    _, _, test = splits(data_dir)
    if count > len(test):
        raise ValueError(f"count: expected at most {len(test)} samples, found {count}")
    return {"numbers": test.numbers[:count].numpy(), "grades": test.grades[:count].numpy()}


def splits(data_dir: Path | None = None) -> tuple[Diamonds, Diamonds, Diamonds]:
    """Return what trains, validates and tests; raise DataError for a damaged table, or one too small to be cut."""
    stones = table.bundled() if data_dir is None else table.of_folder(data_dir)
    identities = np.array([_hash(name) for name in names(stones)], np.uint64)
    shares = identities / 2**64
    kinds = np.where(shares < _TEST, 2, np.where(shares < _TEST + _VALIDATION, 1, 0))
    # Rows of one stone are in the order of their values, whatever that of the file.
    order = np.lexsort((stones.prices, *stones.grades.T, *stones.numbers.T, identities))
    rows = [order[kinds[order] == kind] for kind in range(3)]
    for name, those in zip(("train", "validation", "test"), rows, strict=True):
        if not len(those):
            raise DataError(f"{data_dir}/{table.NAME}: expected stones for the {name} split, found too few for one")
    train, validation, test = (Diamonds(stones.take(those), identities[those]) for those in rows)
    return train, validation, test


def names(stones: Stones) -> list[bytes]:
    """Return what each row's stone is known by: carat, color, clarity, the two widths in either order, and height.

    Ten thousand stones are listed a second time turned by 90°, x and y exchanged, with another price and often another cut.
    """
    carat, x, y, z = (stones.numbers[:, table.NUMBERS.index(name)].tolist() for name in ("carat", "x", "y", "z"))
    _, color, clarity = stones.grades.T.tolist()
    # Two decimals are all that the table has.
    return [
        f"{weight:.2f} {shade} {purity} {min(width, other):.2f} {max(width, other):.2f} {height:.2f}".encode()
        for weight, shade, purity, width, other, height in zip(carat, color, clarity, x, y, z, strict=True)
    ]


def _hash(name: bytes) -> int:
    """Return the first 64 bits of the SHA-256: that two of 40,000 stones share them has a chance of one in 10¹⁰."""
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")


def _checksum(splits: Iterable[Diamonds]) -> str:
    """Return the SHA-256 of all numbers, grades and prices, split by split, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.numbers.numpy().astype("<f4").tobytes())  # the same on every machine
        digest.update(split.grades.numpy().astype("<i8").tobytes())
        digest.update(split.prices.numpy().astype("<f4").tobytes())
    return digest.hexdigest()
