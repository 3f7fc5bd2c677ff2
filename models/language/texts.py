"""Texts made of a word list: words drawn by their frequency, and who may draw which word.

A word that is common in some language belongs to every split: it would be in any text. All others are dealt out by their
SHA-256, and every text holds at least one of its own split's. So no text is in two splits, and the test asks what texts ask:
the words that everybody uses are known, of the rest most were never seen. Nothing is random: numbers are read off SHAKE-256.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.language.words import Word
from models.tensors import Array

#: A word is common from this frequency on, in billionths of all words: one of ten thousand.
_COMMON = 100_000

#: The first byte of a word's SHA-256 says whose it is: below the first bound validation's, below the second the test's.
_VALIDATION, _TEST = 16, 48

_SPACE = b" "


class Vocabulary(NamedTuple):
    """Words as bytes one after the other, each with a space after it; where they start, how long they are, and the sums
    of their frequencies up to each, all INT64 [n]."""

    letters: Array
    starts: Array
    lengths: Array
    sums: Array

    def at(self, numbers: Array) -> Array:
        """Return which words these numbers draw, INT64 [n]: UINT64 below 2^32, all equally likely, frequent words often."""
        return np.asarray(np.searchsorted(self.sums, (numbers * np.uint64(self.sums[-1])) >> np.uint64(32), side="right"))


class Share(NamedTuple):
    """What one split may say in one language: the common words, its own, and how frequent all that are not common are."""

    common: Vocabulary
    own: Vocabulary
    rare: int


def common(lists: Mapping[str, Sequence[Word]]) -> frozenset[bytes]:
    """Return the words that are common in at least one language."""
    return frozenset(word for words in lists.values() for word, frequency in words if frequency >= _COMMON)


def split_of(word: bytes) -> str:
    """Return to which split a word belongs that is not common."""
    first = hashlib.sha256(word).digest()[0]
    return "validation" if first < _VALIDATION else "test" if first < _TEST else "train"


def shares(words: Sequence[Word], shared: frozenset[bytes]) -> dict[str, Share]:
    """Return what each split may say of a language's words; `shared` are those that are common in any."""
    own: dict[str, list[Word]] = {"train": [], "validation": [], "test": []}
    known: list[Word] = []
    for word in words:
        (known if word.letters in shared else own[split_of(word.letters)]).append(word)
    rare = sum(word.frequency for found in own.values() for word in found)
    given = _vocabulary(known)
    return {split: Share(given, _vocabulary(found), rare) for split, found in own.items()}


def draw(given: Share, name: str, counts: Array, width: int) -> Array:
    """Return texts of `counts` words each, UINT8 [n, width], filled up with zeros; the same for the same name.

    One word of each text, in any place, is of the split's own; the others are common or own as often as the language has
    it. Raise ValueError where a text is longer than `width`.
    """
    total = int(counts.sum())
    ends = counts.cumsum()
    places, kinds, choices = np.split(_numbers(name, len(counts) + 2 * total), [len(counts), len(counts) + total])
    frequent = int(given.common.sums[-1])
    own = (kinds * np.uint64(frequent + given.rare)) >> np.uint64(32) >= frequent
    own[ends - counts + ((places * counts.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)] = True
    starts, lengths = (
        np.where(
            own, getattr(given.own, field)[given.own.at(choices)], getattr(given.common, field)[given.common.at(choices)]
        )
        for field in ("starts", "lengths")
    )
    starts += own * len(given.common.letters)
    letters = np.concatenate([given.common.letters, given.own.letters])
    return _joined(letters, starts, lengths, counts, width)


def _joined(letters: Array, starts: Array, lengths: Array, counts: Array, width: int) -> Array:
    """Return one row for each text of `counts` words, which are at these places of `letters`."""
    sizes = np.add.reduceat(lengths, counts.cumsum() - counts) - 1  # without the space after the last word
    if sizes.max() > width:
        raise ValueError(f"width: expected {sizes.max()} or more, found {width}")
    ends = lengths.cumsum()
    # Where each byte of the texts, joined by spaces, comes from: within a word one place further than the byte before.
    flat = letters[np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])]
    texts = np.zeros((len(counts), width + 1), np.uint8)
    texts[np.arange(width + 1) <= sizes[:, None]] = flat
    texts[np.arange(len(counts)), sizes] = 0
    return texts[:, :width]


def _vocabulary(words: Sequence[Word]) -> Vocabulary:
    lengths = np.array([len(one.letters) + 1 for one in words], np.int64)
    return Vocabulary(
        letters=np.frombuffer(b"".join(one.letters + _SPACE for one in words), np.uint8),
        starts=lengths.cumsum() - lengths,
        lengths=lengths,
        sums=np.array([one.frequency for one in words], np.int64).cumsum(),
    )


def _numbers(name: str, count: int) -> Array:
    """Return numbers that look drawn at random, UINT64 below 2^32, the same wherever that name is asked for."""
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(4 * count), "<u4").astype(np.uint64)
