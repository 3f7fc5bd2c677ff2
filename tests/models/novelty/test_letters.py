import importlib.machinery
from pathlib import Path

import numpy as np
import pytest

from models.digits import data as digits
from models.novelty import letters
from models.spec import DataError
from models.tensors import Array


@pytest.fixture(scope="module")
def drawn() -> Array:
    return letters.draw()


def test_every_letter_of_every_font_is_drawn_and_no_two_are_alike(drawn: Array) -> None:
    assert drawn.shape == (34 * 8 * letters.VARIATIONS, 28, 28)
    assert drawn.dtype == np.uint8
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_no_letter_is_one_that_a_digit_looks_like() -> None:
    assert len(set(letters.CHARACTERS)) == len(letters.CHARACTERS)
    assert not set(letters.CHARACTERS) & set("0123456789DOQoIJijlZzSsGbBgq")


def test_letters_are_framed_as_digits_are(drawn: Array) -> None:
    """Their larger side is 20 pixels, but for the shade of an edge, and their mass is in the middle."""
    rows, columns = drawn.max(axis=2) > 0, drawn.max(axis=1) > 0
    sides = np.maximum(rows.sum(axis=1), columns.sum(axis=1))
    assert sides.min() >= 19
    assert sides.max() <= 21
    ink, places = drawn.sum(axis=(1, 2)), np.arange(28)
    for axis in (1, 2):
        middle = (drawn.sum(axis=3 - axis) * places).sum(axis=1) / ink
        assert np.abs(middle - 13.5).max() <= 0.51  # half a pixel, and the rounding of shades


def test_letters_are_as_bold_and_as_sharp_as_digits(drawn: Array) -> None:
    """Neither the amount of ink, nor how much of it is grey, nor how long outlines are tells them apart."""
    split = digits.datasets().train
    assert isinstance(split, digits.Digits)
    for image_set in (drawn, split.images.numpy()):
        assert 30 < image_set.mean() < 36
        assert 0.17 < (image_set > 0).mean() < 0.2
        assert 0.42 < ((image_set > 25) & (image_set < 230)).sum() / (image_set > 0).sum() < 0.52
        steps = sum(np.abs(np.diff(image_set.astype(int), axis=axis)).sum() for axis in (1, 2))
        assert 0.95 < steps / image_set.sum() < 1.1


def test_a_font_that_was_altered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "FONTS", {"DejaVuSans": "0" * 64})
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: expected sha256 0{64}, found [0-9a-f]{64}: another version"):
        letters.draw()


def test_a_font_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.machinery.ModuleSpec("matplotlib", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: No such file or directory; reinstall it"):
        letters.draw()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="matplotlib, which is not installed: pip install matplotlib"):
        letters.draw()
