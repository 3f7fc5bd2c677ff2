"""Short texts of 16 languages, drawn from wordfreq's word lists by `texts.py`; a second checksum guards what is drawn."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.language import texts, words
from models.spec import DataError, Datasets
from models.tensors import Array

LANGUAGES = tuple(words.SHA256)

#: Bytes of the longest text of the splits, and a little more.
WIDTH = 128

#: Bands of lengths in words, from and to, that scores are told by; every band has as many texts as any other.
BANDS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 12))

#: How many words texts have, in turn. Those judged: each band four times, each length of a band equally often. Those learnt
#: of: half of them are one word, as these say most about words that are rare.
_JUDGED = tuple(first + place % (last - first + 1) for place in range(4) for first, last in BANDS)
_LEARNT = (1, 1, 1, 2, 1, 1, 3, 1, 1, 6, 1, 1, 2, 1, 1, 4, 1, 1, 10, 1)
_TURNS = {"train": _LEARNT, "validation": _JUDGED, "test": _JUDGED}

#: Texts of each language, in each split.
_COUNTS = {"train": 30_000, "validation": 800, "test": 1_000}

#: The checksum of the splits: it guards this code and texts.py, as words.py guards the lists.
_SPLITS_SHA256 = "f23f882e57407059e9e32bf635ab8ee6c2c0427c621ea12f9e433bb3cd85fab5"


class Texts(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Texts in memory as a torch dataset, UINT8 [n, WIDTH]; several together are as wide as the longest of them."""

    def __init__(self, letters: Array, languages: Array) -> None:
        self.letters = torch.from_numpy(letters)
        self.languages = torch.from_numpy(languages)
        self._lengths = (self.letters != 0).sum(1)

    def __len__(self) -> int:
        return len(self.languages)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"text": self.letters[index]}, self.languages[index]

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        longest = int(self._lengths[indices].max())
        return {"text": self.letters[indices, :longest]}, self.languages[indices]

    def counts(self) -> Array:
        """Return how many words each text has, INT64 [n]."""
        return np.asarray((self.letters == ord(" ")).sum(1).numpy() + 1)


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return the splits, of lists in a folder or in the package wordfreq; raise DataError for lists that are others."""
    shares = _shares(data_dir)
    splits = {split: _drawn(shares, split) for split in _COUNTS}
    checksum = _checksum(splits)
    if checksum != _SPLITS_SHA256:
        raise DataError(f"splits of language: expected sha256 {_SPLITS_SHA256}, found {checksum}")
    return Datasets(splits["train"], splits["validation"], splits["test"], checksum)


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return the first `count` texts of the test split, languages in turn; ValueError if it has fewer."""
    test = _drawn(_shares(data_dir), "test")
    if count > len(test):
        raise ValueError(f"count: expected at most {len(test)} samples, found {count}")
    return {"text": test.letters[:count].numpy()}


def texts_of(split: object) -> Texts:
    """Return a split as what it is; raise TypeError for another model's."""
    if not isinstance(split, Texts):
        raise TypeError(f"split: expected Texts, found {type(split).__name__}")
    return split


def _shares(folder: Path | None) -> dict[str, dict[str, texts.Share]]:
    """Return by language what each split may say."""
    return _packaged() if folder is None else _read(folder)


@functools.lru_cache(maxsize=1)
def _packaged() -> dict[str, dict[str, texts.Share]]:
    """Return the same of the installed lists, which do not change while they are there: reading them takes seconds."""
    return _read(None)


def _read(folder: Path | None) -> dict[str, dict[str, texts.Share]]:
    lists = words.read(folder)
    shared = texts.common(lists)
    return {language: texts.shares(found, shared) for language, found in lists.items()}


def _drawn(shares: dict[str, dict[str, texts.Share]], split: str) -> Texts:
    """Return a split: languages in turn, and of each language lengths in turn."""
    counts = np.resize(np.array(_TURNS[split], np.int64), _COUNTS[split])
    drawn = [texts.draw(found[split], f"{split} {language}", counts, WIDTH) for language, found in shares.items()]
    letters = np.stack(drawn, axis=1).reshape(-1, WIDTH)
    return Texts(letters, np.tile(np.arange(len(shares)), _COUNTS[split]))


def _checksum(splits: dict[str, Texts]) -> str:
    """Return the SHA-256 of all texts and languages, split by split, in their order."""
    digest = hashlib.sha256()
    for split in splits.values():
        digest.update(split.letters.numpy().tobytes())
        digest.update(split.languages.numpy().astype("<i8").tobytes())
    return digest.hexdigest()
