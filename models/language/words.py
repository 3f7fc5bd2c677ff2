"""Word lists: how frequent the words of a language are, from the files of the package wordfreq, which is not imported.

A file is msgpack under gzip: a header, then lists of words, those in the nth place as frequent as 10 to the power of -n/100.
The files are the project's smaller ones: words that are one of a million or more.
"""

import gzip
import hashlib
import importlib.util
import re
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgpack

from models.spec import DataError

#: The languages by their codes, and what `sha256sum` says of each file.
SHA256 = {
    "cs": "213812b32ab2b2cdb626e5e1ced308d0d89e2990ae1eb5cf183c5e1f16d52940",
    "da": "80db682ff7bb30e7c8fd3e5dac2b9fe8c12faa206c45438f1a799a048ab10d8b",
    "de": "2115b5bb4adb671a3352555a480b9c2f5b03493e9f7e4047997361d62310017a",
    "en": "f94a80cba6a3857b260d0666b5432bb7ea9b85315574dee9c306e87f61298247",
    "es": "ff5853040f65bcc9cb3ed3721d1d09d4405389c1741ebbf529612220829ff5af",
    "fi": "7c33d07743908b9ae43347d96f60e4d1d30fa3529f59fdefcbf16441040183d7",
    "fr": "8fbbf619ff2e6ff5b3d99d41e69c105daf5795771ce8ef36529f210d571abe6e",
    "hu": "84130f74f9ea8f097bfb25d3778d03d26449dba255df7e60f42bbef463fdc582",
    "it": "07a4355d735d9cc864ce9fe679d94a13dee4cefa2495b6b013ecdb214b231c66",
    "nb": "f979e2d16f41758572ce8c3992047f015cbef65c012702a86e7c416ab8d83659",
    "nl": "ae0d64f10e9d11898b2b9481c0b20698ec40c79b8025edfdd70856bd593ad4b0",
    "pl": "95691a55cc2afe0719c11f187fe55a8956bef0654ec476e945af3c495b4aa285",
    "pt": "fe4e551f6da739583d66cd5ef4fca28a1ccfa2ae5a53a5cbf48aa73dd7c91e0c",
    "ro": "c17fe82952ed209bb45b95c56cb5c7f077ca921a84578c3807d48ddc1dd842e2",
    "sv": "a7c52a3d3576db1b7d4280be47aafccabdc70f9a56c5a40bc94b9139e271adf6",
    "tr": "10980704ee3ac5b52f226579251905412a04ead57092a12182dd0b8be6a765df",
}

_NAMES = "small_{language}.msgpack.gz"

#: Words of Latin letters, small as in the lists: of ASCII, Latin-1, Latin Extended-A and -B. No digits, dots, apostrophes.
_LETTERS = re.compile("^[a-zß-öø-ɏ]+$", re.MULTILINE)

#: Frequencies are counted in this many.
_BILLION = 1_000_000_000


class Word(NamedTuple):
    """A word as UTF-8, and how often it is met among a billion words."""

    letters: bytes
    frequency: int


def read(folder: Path | None = None) -> dict[str, tuple[Word, ...]]:
    """Return the words of every language, frequent ones first, from a folder or from the installed package.

    Raise DataError for a file that is missing or not the one meant.
    """
    folder = folder or _installed()
    return {language: _words(folder / _NAMES.format(language=language), sha256) for language, sha256 in SHA256.items()}


def _installed() -> Path:
    # Found, not imported: wordfreq itself would bring other packages along, and only its files are wanted.
    package = importlib.util.find_spec("wordfreq")
    if package is None or package.origin is None:
        raise DataError("word lists: expected in the package wordfreq, which is not installed: pip install wordfreq")
    return Path(package.origin).parent / "data"


def _words(path: Path, sha256: str) -> tuple[Word, ...]:
    try:
        packed = path.read_bytes()
    except OSError as error:
        remedy = "reinstall it with: pip install --force-reinstall wordfreq"
        raise DataError(f"{path}: {error.strerror or error}; {remedy}") from error
    found = hashlib.sha256(packed).hexdigest()
    if found != sha256:
        raise DataError(f"{path}: expected sha256 {sha256}, found {found}: another version of the data, or altered")
    _, *bins = msgpack.unpackb(gzip.decompress(packed))
    return tuple(
        Word(word.encode(), frequency)
        for place, equals in enumerate(bins)
        if equals and (frequency := _frequency(place))
        for word in _LETTERS.findall("\n".join(equals))
    )


def _frequency(place: int) -> int:
    """Return how frequent the words of a place are, exact to the last digit on every machine, as floats need not be."""
    return round(_BILLION * Decimal(10) ** (Decimal(-place) / 100))
