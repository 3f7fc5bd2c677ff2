import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.novelty import outlines
from models.spec import DataError
from models.tensors import Array

matplotlib = importlib.util.find_spec("matplotlib")
assert matplotlib is not None
assert matplotlib.origin is not None
FONT = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


def square(low: float, high: float, *, clockwise: bool = True) -> Array:
    points = np.array([(low, low), (high, low), (high, high), (low, high)])
    return points if clockwise else points[::-1]


def surface(contour: Array) -> float:
    """The shoelace formula; its sign is the direction."""
    (x, y), (next_x, next_y) = contour.T, np.roll(contour, -1, axis=0).T
    return float((x * next_y - next_x * y).sum() / 2)


def test_whole_pixels_are_filled_and_no_others() -> None:
    expected = np.zeros((8, 8))
    expected[2:5, 2:5] = 1
    assert np.array_equal(outlines.fill([square(2, 5)], 8), expected)
    assert np.array_equal(outlines.fill([square(2, 5, clockwise=False)], 8), expected)


def test_a_pixel_at_an_edge_is_as_grey_as_it_is_inside() -> None:
    filled = outlines.fill([square(2.4, 5)], 8)
    assert filled[3, 2] == pytest.approx(0.6)
    assert filled[2, 2] == pytest.approx(0.36)


def test_a_contour_the_other_way_round_is_a_hole_and_one_the_same_way_is_none() -> None:
    rim = square(1, 7)
    holed = outlines.fill([rim, square(3, 5, clockwise=False)], 8)
    assert holed.sum() == 36 - 4
    assert holed[3, 3] == 0
    assert outlines.fill([rim, square(3, 5)], 8).sum() == 36


def test_what_lies_outside_the_image_is_cut_off() -> None:
    filled = outlines.fill([np.array([(-5, -3), (4, -3), (4, 20), (-5, 20)])], 8)
    assert (filled[:, :4] == 1).all()
    assert (filled[:, 4:] == 0).all()


@given(st.lists(st.tuples(st.floats(1, 19), st.floats(1, 19)), min_size=3, max_size=3))
def test_a_triangle_has_as_much_ink_as_surface(corners: list[tuple[float, float]]) -> None:
    triangle = np.array(corners)
    # Points a fifth of a pixel apart miss or gain at most that along the rim.
    rim = float(np.hypot(*(triangle - np.roll(triangle, 1, axis=0)).T).sum())
    assert outlines.fill([triangle], 20).sum() == pytest.approx(abs(surface(triangle)), abs=0.2 * rim + 0.1)


def test_refining_adds_points_and_changes_no_shape() -> None:
    (refined,) = outlines.refined([square(0, 1)], 0.3)
    assert len(refined) == 16
    assert np.abs(np.roll(refined, -1, axis=0) - refined).max() <= 0.3
    assert surface(refined) == pytest.approx(1)


def test_letters_are_read_with_their_holes() -> None:
    read = outlines.read(FONT, "ATe")
    assert list(read) == ["A", "T", "e"]
    assert [len(outline) for outline in read.values()] == [2, 1, 2]
    for outline in (read["A"], read["e"]):
        rim, hole = sorted(map(surface, outline), key=abs, reverse=True)
        assert rim * hole < 0
    # A T is two strokes, as wide as the font says: 1,493 units high, 1,250 wide, both strokes 170 to 202 thick.
    assert abs(surface(read["T"][0])) == pytest.approx(170 * 1249 + (1493 - 170) * 202, rel=0.01)


def test_a_letter_that_a_font_lacks_is_named() -> None:
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: expected the letters A丽, found no 丽"):
        outlines.read(FONT, "A丽")
