import numpy as np
import pytest

from models import chance
from models.tensors import Array

EXAMPLE = np.array([[0.5, 1.5]], np.float32)


@pytest.mark.parametrize("found", [EXAMPLE, -1e30 * EXAMPLE, np.zeros((1, 2), np.float32)])
def test_another_value_is_no_difference(found: Array) -> None:
    assert chance.unlike(found, EXAMPLE) is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (EXAMPLE.astype(np.float64), "expected float32, found float64"),
        (EXAMPLE[0], "expected shape [1, 2], found [2]"),
        (np.array([[1, np.nan]], np.float32), "expected finite numbers, found 1 of 2 that are NaN"),
        (np.array([[np.inf, np.inf]], np.float32), "expected finite numbers, found 2 of 2 that are infinite"),
        (np.array([[1, -np.inf]], np.float32), "expected finite numbers, found 1 of 2 that are minus infinity"),
    ],
)
def test_shape_datatype_and_finiteness_are(found: Array, message: str) -> None:
    assert chance.unlike(found, EXAMPLE) == message


def test_an_example_that_is_masked_allows_a_mask_and_no_more() -> None:
    masked = np.array([[0.5, -np.inf]], np.float32)
    assert chance.unlike(masked[:, ::-1], masked) is None
    assert chance.unlike(-masked, masked) == "expected finite numbers, found 1 of 2 that are infinite"


def test_integers_have_shape_and_datatype_only() -> None:
    assert chance.unlike(np.array([7]), np.array([1])) is None
    assert chance.unlike(np.array([7], np.int32), np.array([1])) == "expected int64, found int32"
