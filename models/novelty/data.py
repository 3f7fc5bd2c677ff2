"""Familiar images, the digits of `models.digits`; and for the test foreign ones: letters, and digits that are none any more.

Training and validation see digits only. Nothing of the foreign is drawn at random, so all of the test outlives libraries
and generators: letters as letters.py tells, noise and orders of pixels from SHAKE-256.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.digits import data as digits
from models.novelty import letters
from models.spec import DataError, Datasets
from models.tensors import Array

SIDE = digits.SIDE

#: What the test holds besides digits, in this order. "letters" are as many as letters.py draws.
FOREIGN = {"letters": len(letters.CHARACTERS) * len(letters.FONTS) * letters.VARIATIONS}
FOREIGN |= {"mirrored": 200, "inverted": 100, "shuffled": 100, "noise": 100}

#: The checksum of the splits with the 5,000 digits that come without a download: it guards this code and letters.py.
_SPLITS_SHA256 = "2fa2943c1fd4c9f443867148a936480d10add9346e0d9998b33401ec348a561b"

#: Digits of which no mirror image is a digit: 0, 1 and 8 look alike from both sides, 2 becomes an S as 5 does.
_ONE_SIDED = (3, 4, 6, 7, 9)


class Samples(NamedTuple):
    """Images, UINT8 [n, 28, 28], and of what kind each is: "digits" or one of FOREIGN."""

    images: npt.NDArray[np.uint8]
    kinds: tuple[str, ...]


class Images(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Samples in memory as a torch dataset; the target is 0 for a digit and 1 for what is foreign, INT64."""

    def __init__(self, samples: Samples) -> None:
        self.images = torch.from_numpy(samples.images)
        self.kinds = samples.kinds
        self.targets = torch.tensor([int(kind != "digits") for kind in samples.kinds])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": self.images[index]}, self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": self.images[indices]}, self.targets[indices]


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return the digits' own splits, foreign images appended to the test; raise DataError for damaged digits or fonts."""
    given = digits.datasets(data_dir)
    train, validation, test = (_digits(split) for split in (given.train, given.validation, given.test))
    splits = Images(_familiar(train)), Images(_familiar(validation)), Images(_with_foreign(test))
    checksum = _checksum(splits)
    if data_dir is None and checksum != _SPLITS_SHA256:
        raise DataError(f"splits of novelty: expected sha256 {_SPLITS_SHA256}, found {checksum}")
    return Datasets(*splits, checksum)


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return the first `count` images of the test split, all of them digits; ValueError if it has fewer."""
    return digits.samples(count, data_dir)


def _digits(split: object) -> digits.Digits:
    if not isinstance(split, digits.Digits):
        raise TypeError(f"split: expected Digits, found {type(split).__name__}")
    return split


def _familiar(split: digits.Digits) -> Samples:
    return Samples(split.images.numpy(), ("digits",) * len(split))


def _with_foreign(test: digits.Digits) -> Samples:
    """Return a test split with foreign images after it; a small split gives fewer of those that are made of digits."""
    images, labels = test.images.numpy(), test.labels.numpy()
    foreign = {
        "letters": letters.draw(),
        "mirrored": images[np.isin(labels, _ONE_SIDED)][: FOREIGN["mirrored"], :, ::-1],
        "inverted": 255 - images[: FOREIGN["inverted"]],
        "shuffled": _shuffled(images[: FOREIGN["shuffled"]]),
        "noise": np.frombuffer(_stream("noise", FOREIGN["noise"] * SIDE * SIDE), np.uint8).reshape(-1, SIDE, SIDE),
    }
    kinds = ["digits"] * len(images)
    for kind, found in foreign.items():
        kinds.extend([kind] * len(found))
    return Samples(np.concatenate([images, *foreign.values()]), tuple(kinds))


def _shuffled(images: Array) -> Array:
    """Return the images with their pixels in another order, each in its own: no pixel is lost, every shape is."""
    flat = images.reshape(len(images), -1)
    keys = np.frombuffer(_stream("shuffled", flat.size * 4), "<u4").reshape(flat.shape)
    return np.asarray(np.take_along_axis(flat, keys.argsort(axis=1, kind="stable"), axis=1).reshape(images.shape))


def _stream(name: str, size: int) -> bytes:
    """Return bytes that look drawn at random, and are the same wherever that name is asked for."""
    return hashlib.shake_256(name.encode()).digest(size)


def _checksum(splits: tuple[Images, ...]) -> str:
    """Return the SHA-256 of all pixels and kinds, split by split, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.numpy().tobytes())
        digest.update("\n".join(split.kinds).encode())
    return digest.hexdigest()
