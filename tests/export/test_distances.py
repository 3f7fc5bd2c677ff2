import numpy as np
import pytest

from export import distances
from export.tolerance import difference
from models.tensors import Array


def apart(found: Array, values: Array) -> Array:
    return difference(found[np.newaxis], values)


def test_a_share_is_of_the_reference_and_zeros_have_none() -> None:
    values = np.array([0, 2, -4, np.nan], np.float32)
    found = np.array([1, 3, -3, np.nan], np.float32)
    assert distances.largest_share(apart(found, values), values) == 0.5
    assert distances.largest_share(apart(values[:1], values[:1]), values[:1]) == 0


@pytest.mark.parametrize("magnitude", [1.5, 3e-7, 1e30, np.finfo(np.float32).max / 1.5, 1e-44])
@pytest.mark.parametrize("sign", [1, -1])
def test_neighbouring_numbers_are_one_unit_apart(magnitude: float, sign: int) -> None:
    values = np.array([[sign * magnitude]], np.float32)
    found = np.nextafter(values, np.float32(0))
    assert distances.largest_ulp(apart(found, values), values) == 1
    assert distances.largest_ulp(apart(np.nextafter(found, np.float32(0)), values), values) == 2


def test_units_of_half_precision_are_larger() -> None:
    values = np.array([1.5], np.float16)
    assert distances.largest_ulp(apart(values + np.float16(2**-10), values), values) == 1


def test_the_cosine_is_that_of_the_worst_sample() -> None:
    values = np.array([[1, 0], [0, 2], [3, 3]], np.float32)
    found = np.array([[[10, 0], [0, 1], [3, 3]], [[1, 0], [0, 2], [0, 3]]], np.float32)
    assert distances.smallest_cosine(found, values) == pytest.approx(np.sqrt(0.5))
    assert distances.smallest_cosine(found[:1], values) == pytest.approx(1)
    assert distances.smallest_cosine(-found[:1], values) == pytest.approx(-1)


def test_zeros_point_where_zeros_point_and_nowhere_else() -> None:
    zeros, ones = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert distances.smallest_cosine(zeros[np.newaxis], zeros) == 1
    assert distances.smallest_cosine(ones[np.newaxis], zeros) == 0
    assert distances.smallest_cosine(zeros[np.newaxis], ones) == 0


def test_what_is_no_number_points_nowhere_unless_the_reference_is_none_either() -> None:
    values = np.array([[1, 2], [np.nan, 1]], np.float32)
    assert distances.smallest_cosine(values[np.newaxis], values) == pytest.approx(1)
    assert distances.smallest_cosine(np.full((1, 2, 2), np.nan, np.float32), values) == 0


def test_large_and_small_numbers_neither_overflow_nor_vanish() -> None:
    for scale in (1e300, 1e-300):
        values = np.array([[1.0, 1.0]]) * scale
        assert distances.smallest_cosine((values * [1, -1])[np.newaxis], values) == pytest.approx(0, abs=1e-15)
        assert distances.smallest_cosine(values[np.newaxis] * 2, values) == pytest.approx(1)


def test_outputs_without_elements_differ_by_nothing() -> None:
    values = np.zeros((4, 0), np.float32)
    found = values[np.newaxis]
    assert distances.largest_share(difference(found, values), values) == 0
    assert distances.largest_ulp(difference(found, values), values) == 0
    assert distances.smallest_cosine(found, values) == 1
