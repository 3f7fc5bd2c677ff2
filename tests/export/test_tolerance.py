import numpy as np
import pytest

from export import tolerance
from models.tensors import Array


def test_difference_of_numbers_infinities_and_nans() -> None:
    one = np.array([1.0, np.nan, np.inf, -np.inf, np.inf, np.nan, 1.0], np.float32)
    other = np.array([3.0, np.nan, np.inf, -np.inf, -np.inf, 1.0, np.inf], np.float32)
    np.testing.assert_array_equal(tolerance.difference(one, other), [2, 0, 0, 0, np.inf, np.inf, np.inf])


def test_difference_of_unsigned_integers_does_not_wrap() -> None:
    assert tolerance.difference(np.array([1], np.uint8), np.array([2], np.uint8)) == [1]


def test_scale_is_the_largest_finite_magnitude() -> None:
    assert tolerance.scale(np.array([1, -4, np.inf, np.nan])) == 4
    assert tolerance.scale(np.array([np.nan])) == 0
    assert tolerance.scale(np.zeros((0, 3))) == 0


def test_the_least_floor_is_a_few_units_in_the_last_place() -> None:
    values = np.array([1.0, 0.5], np.float32)
    np.testing.assert_allclose(tolerance.floors(values, np.zeros(2)), 4 * 2.0**-23, rtol=1e-6)


def test_few_elements_share_one_floor() -> None:
    values = np.linspace(0.1, 1, tolerance.BAND, dtype=np.float32)
    noise = np.full(values.shape, 1e-6)
    noise[3] = 1e-4
    assert np.all(tolerance.floors(values, noise) == 1e-4)


def probabilities(rows: int) -> tuple[Array, Array]:
    """Return probabilities over twelve orders of magnitude, and noise in proportion to each."""
    random = np.random.default_rng(0)
    values = np.exp(random.uniform(np.log(1e-12), 0, rows)).astype(np.float32)
    return values, values * random.uniform(1e-7, 1e-6, rows)


def test_small_values_have_small_floors_where_noise_follows_size() -> None:
    values, noise = probabilities(10_000)
    floors = tolerance.floors(values, noise)
    assert np.all(floors >= noise)
    small = values < 1e-6
    assert np.all(floors[small] < 3e-12)
    assert floors.max() > 5e-7


def test_small_values_have_the_floor_of_all_where_noise_does_not_follow_size() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(1000, 10)).astype(np.float32)
    floors = tolerance.floors(values, np.abs(random.normal(0, 1e-7, values.shape)))
    assert floors.min() > 1.5e-7


def test_floors_never_fall_as_values_grow() -> None:
    values, noise = probabilities(2_000)
    assert np.all(np.diff(tolerance.floors(values, noise)[np.argsort(values, kind="stable")]) >= 0)


def test_zeros_have_the_floor_of_the_smallest_other_values() -> None:
    values = np.maximum(np.random.default_rng(0).normal(size=5_000), 0).astype(np.float32)
    floors = tolerance.floors(values, np.where(values > 0, 1e-7, 0.0))
    assert floors.min() >= 1e-7


@pytest.mark.parametrize("values", [np.zeros(300, np.float32), np.zeros((0, 4), np.float32), np.full(3, np.nan, np.float32)])
def test_outputs_without_magnitude_have_next_to_no_floor(values: Array) -> None:
    floors = tolerance.floors(values, np.zeros(values.shape))
    assert floors.shape == values.shape
    assert np.all(floors < 1e-30)


def test_a_row_that_is_noise_through_and_through_has_an_infinite_floor() -> None:
    assert np.isinf(tolerance.floors(np.ones(3, np.float32), np.array([0, np.inf, 0]))).all()


def test_small_values_are_allowed_the_rounding_of_the_largest() -> None:
    values = np.array([[0.9, 1e-9], [0.8, 1e-8]], np.float32)
    allowed = tolerance.allowed(values, np.full(values.shape, 1e-12))
    np.testing.assert_allclose(allowed, 4 * 2.0**-24, rtol=1e-6)


@pytest.mark.parametrize("shape", [(200, 5), (50, 4, 5), (50, 5, 4)])
def test_a_softmax_is_allowed_no_more_than_its_noise(shape: tuple[int, ...]) -> None:
    logits = np.random.default_rng(0).normal(size=shape) * 5
    axis = shape.index(5)
    values = (np.exp(logits) / np.exp(logits).sum(axis=axis, keepdims=True)).astype(np.float32)
    floors = values * 1e-7
    np.testing.assert_array_equal(tolerance.allowed(values, floors), 10 * floors)


def test_a_stated_tolerance_is_that_of_allclose() -> None:
    values = np.array([0, -2, np.inf], np.float32)
    np.testing.assert_allclose(tolerance.stated(values, atol=0.5, rtol=0.25), [0.5, 1, 0.5])
