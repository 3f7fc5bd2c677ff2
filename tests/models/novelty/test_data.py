from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from models.digits import data as digits
from models.novelty import data
from models.spec import DataError, Datasets
from models.tensors import Array
from tests.models.digits.test_data import write_set


def images(dataset: object) -> data.Images:
    assert isinstance(dataset, data.Images)
    return dataset


@pytest.fixture(scope="module")
def splits() -> Datasets:
    return data.datasets()


def of(splits: Datasets, kind: str) -> Array:
    test = images(splits.test)
    return np.asarray(test.images.numpy()[np.array(test.kinds) == kind])


def test_what_is_learnt_and_chosen_with_is_digits_alone(splits: Datasets) -> None:
    given = digits.datasets()
    for split, source in ((splits.train, given.train), (splits.validation, given.validation)):
        assert isinstance(source, digits.Digits)
        assert torch.equal(images(split).images, source.images)
        assert not images(split).targets.any()


def test_the_test_holds_digits_and_then_every_kind_of_foreign_image(splits: Datasets) -> None:
    test = images(splits.test)
    assert Counter(test.kinds) == {"digits": 1000, **data.FOREIGN}
    assert list(dict.fromkeys(test.kinds)) == ["digits", *data.FOREIGN]
    assert test.targets.tolist() == [0] * 1000 + [1] * sum(data.FOREIGN.values())


def test_foreign_images_are_what_their_kind_says(splits: Datasets) -> None:
    given = digits.datasets().test
    assert isinstance(given, digits.Digits)
    pixels, labels = given.images.numpy(), given.labels.numpy()
    known = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    assert {known[image[:, ::-1].tobytes()] for image in of(splits, "mirrored")} == {3, 4, 6, 7, 9}
    assert np.array_equal(255 - of(splits, "inverted"), pixels[:100])
    shuffled = of(splits, "shuffled")
    for image, before in zip(shuffled, pixels, strict=False):
        assert sorted(image.ravel()) == sorted(before.ravel())
    assert not (shuffled == pixels[:100]).all(axis=(1, 2)).any()
    # Not one order for all: pixels that lie outside every digit would stay dark together.
    assert (shuffled.max(axis=0) > 0).all()
    noise = of(splits, "noise")
    assert np.bincount(noise.ravel(), minlength=256).std() / np.sqrt(noise.size / 256) == pytest.approx(1, abs=0.15)


def test_samples_are_the_first_digits_of_the_test(splits: Datasets) -> None:
    assert np.array_equal(data.samples(64)["image"], images(splits.test).images[:64].numpy())
    with pytest.raises(ValueError, match="count: expected at most 1000 samples"):
        data.samples(1001)


def test_items_gathered_at_once_are_the_items_one_by_one(splits: Datasets) -> None:
    test = images(splits.test)
    inputs, targets = test.__getitems__([999, 1000, 5])
    assert targets.tolist() == [0, 1, 0]
    for place, index in enumerate([999, 1000, 5]):
        assert torch.equal(inputs["image"][place], test[index][0]["image"])
        assert test[index][1] == targets[place]


def test_another_way_to_make_foreign_images_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_ONE_SIDED", (3, 4, 6, 7))
    with pytest.raises(DataError, match=r"splits of novelty: expected sha256 [0-9a-f]{64}, found "):
        data.datasets()


def test_digits_of_a_folder_bring_the_same_letters(tmp_path: Path, splits: Datasets) -> None:
    write_set(tmp_path)
    found = data.datasets(tmp_path)
    assert len(images(found.train)) == 540
    kinds = Counter(images(found.test).kinds)
    # A test split of 50 has 25 digits to be mirrored and 50 for the others.
    assert kinds == {"digits": 50, "letters": 544, "mirrored": 25, "inverted": 50, "shuffled": 50, "noise": 100}
    assert np.array_equal(of(found, "letters"), of(splits, "letters"))
    assert found.checksum != splits.checksum
    assert data.samples(50, tmp_path)["image"].shape == (50, 28, 28)
