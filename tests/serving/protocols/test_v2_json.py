"""Numbers from JSON become those of numpy, bit for bit, by whichever way."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tensors import DTYPES
from serving.errors import InvalidInput
from serving.protocols import v2_json

#: orjson reads larger integers as floats.
FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1))


@given(values=st.lists(FLOATS, min_size=1, max_size=40), datatype=st.sampled_from(["FP32", "FP64"]))
def test_floats_are_those_that_numpy_makes_or_out_of_range(values: list[Any], datatype: str) -> None:
    with np.errstate(over="ignore"):
        expected = np.array(values, DTYPES[datatype])
    if np.isfinite(expected).all():
        found = v2_json.read(values, "x", datatype, (len(values),))
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
    else:
        with pytest.raises(InvalidInput, match=f"x.data: expected values of {datatype}"):
            v2_json.read(values, "x", datatype, (len(values),))


@pytest.mark.parametrize("count", [65_536, 65_537])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_many_are_read_as_few_are(count: int, datatype: str) -> None:
    values: list[Any] = [index / 7 for index in range(count)]
    values[1] = 2**53 + 1
    found = v2_json.read(values, "x", datatype, (count,))
    assert found.tobytes() == np.array(values, DTYPES[datatype]).tobytes()


@pytest.mark.parametrize("value", [True, None, "1"])
def test_what_is_no_number_is_none(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected numbers for FP32"):
        v2_json.read([1.0, value], "x", "FP32", (2,))


def test_nothing_is_an_array_without_values() -> None:
    assert v2_json.read([], "x", "FP32", (0, 3)).shape == (0, 3)
    assert math.prod(v2_json.read([], "x", "FP64", (3, 0)).shape) == 0
