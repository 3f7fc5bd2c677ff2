"""diamonds.csv as arrays: the table of 53,940 stones in an installed wheel, or one with the same header from a folder."""

import csv
import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.spec import DataError

NAME = "diamonds.csv"

#: The columns that are numbers: weight in carats, two shares in percent, and the three lengths in mm.
NUMBERS = ("carat", "depth", "table", "x", "y", "z")

#: The columns that are grades, each from its worst to its best. A grade is its place in here.
GRADES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}

_HEADER = ("carat", "cut", "color", "clarity", "depth", "table", "price", "x", "y", "z")

#: What `sha256sum` says of the file in the plotnine wheel.
_FILE_SHA256 = "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4"

#: float32's largest number.
_LARGEST = float(np.finfo(np.float32).max)


class Stones(NamedTuple):
    """Rows of the table: NUMBERS, FP32 [n, 6]; GRADES, INT64 [n, 3]; prices in USD, FP32 [n]."""

    numbers: npt.NDArray[np.float32]
    grades: npt.NDArray[np.int64]
    prices: npt.NDArray[np.float32]

    def take(self, rows: npt.NDArray[np.int64]) -> "Stones":
        """Return the stones at these rows, as copies."""
        return Stones(self.numbers[rows], self.grades[rows], self.prices[rows])


def bundled() -> Stones:
    """Return the table that the plotnine wheel carries; raise DataError where it is missing or another."""
    # Found, not imported: plotnine itself would bring pandas, matplotlib and statsmodels along.
    package = importlib.util.find_spec("plotnine")
    if package is None or package.origin is None:
        raise DataError(f"{NAME}: expected in the package plotnine, which is not installed: pip install plotnine")
    path = Path(package.origin).parent / "data" / NAME
    content = _bytes(path, "reinstall it with: pip install --force-reinstall plotnine")
    found = hashlib.sha256(content).hexdigest()
    if found != _FILE_SHA256:
        raise DataError(f"{path}: expected sha256 {_FILE_SHA256}, found {found}: another version of the data, or altered")
    return parse(content, path)


def of_folder(folder: Path) -> Stones:
    """Return the table of a folder's diamonds.csv; raise DataError where there is none or it is no such table."""
    path = folder / NAME
    return parse(_bytes(path, f"expected a table with the columns {', '.join(_HEADER)}"), path)


def parse(content: bytes, path: Path) -> Stones:
    """Return a table's stones; raise DataError naming `path`, the line and the column of the first thing that is wrong."""
    try:
        lines = list(csv.reader(content.decode().splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table of comma-separated values, found none: {error}") from None
    if not lines or tuple(lines[0]) != _HEADER:
        found = ",".join(lines[0])[:80] if lines else "an empty file"
        raise DataError(f"{path}: expected the header {','.join(_HEADER)}, found {found}")
    if len(lines) == 1:
        raise DataError(f"{path}: expected stones below the header, found none")
    for place, line in enumerate(lines[1:], 2):
        if len(line) != len(_HEADER):
            raise DataError(f"{path}: line {place}: expected {len(_HEADER)} values, found {len(line)}")
    cells = dict(zip(_HEADER, zip(*lines[1:], strict=True), strict=True))
    numbers = [_column(path, name, cells[name], _number, "a number, 0 or more") for name in NUMBERS]
    grades = [
        _column(path, name, cells[name], {grade: place for place, grade in enumerate(grades)}.__getitem__, ", ".join(grades))
        for name, grades in GRADES.items()
    ]
    prices = _column(path, "price", cells["price"], _price, "a number above 0")
    return Stones(np.array(numbers, np.float32).T.copy(), np.array(grades, np.int64).T.copy(), np.array(prices, np.float32))


def _column(
    path: Path, name: str, cells: Sequence[str], read: Callable[[str], float | int], expected: str
) -> list[float | int]:
    """Return a column's values; raise DataError naming the first line whose cell `read` refuses."""
    values = []
    for place, cell in enumerate(cells, 2):
        try:
            values.append(read(cell))
        except (ValueError, KeyError):
            raise DataError(f"{path}: line {place}: {name}: expected {expected}, found {cell[:80]!r}") from None
    return values


def _number(cell: str) -> float:
    value = float(cell)
    if not 0 <= value <= _LARGEST:  # NaN too is refused
        raise ValueError
    return value


def _price(cell: str) -> float:
    value = _number(cell)
    if value == 0:
        raise ValueError
    return value


def _bytes(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; {remedy}") from error
