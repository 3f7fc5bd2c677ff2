import numpy as np
import pytest

from models.content import ValueContent
from models.tensors import Signature, SignatureError, TensorSpec

VALUE = ValueContent("novelty", "", others=("embedding",))
X = (TensorSpec("x", "FP32", ()),)


def test_a_value_is_told_with_its_unit_and_what_goes_with_it() -> None:
    told = VALUE.write({"novelty": np.array([0.1, 9], np.float32), "embedding": np.array([[1, 2], [3, 4]], np.float32)})
    assert list(told) == ["value", "unit", "embedding"]
    assert told["value"] == np.float32(0.1)
    assert told["unit"] == ""
    np.testing.assert_array_equal(np.asarray(told["embedding"]), [1, 2])


@pytest.mark.parametrize("name", ["novelty", "embedding"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_no_answer(name: str, number: float) -> None:
    outputs = {"novelty": np.zeros(1, np.float32), "embedding": np.zeros((1, 2), np.float32)}
    outputs[name][0] = number
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
        VALUE.write(outputs)


def test_a_value_fits_its_signature() -> None:
    embedding = TensorSpec("embedding", "FP32", (2,))
    VALUE.check(Signature(X, (TensorSpec("novelty", "FP32", ()), embedding), 8))
    with pytest.raises(SignatureError, match="content: novelty"):
        VALUE.check(Signature(X, (TensorSpec("novelty", "FP32", (1,)), embedding), 8))
    with pytest.raises(SignatureError, match="content: embedding"):
        VALUE.check(Signature(X, (TensorSpec("novelty", "FP32", ()), TensorSpec("embedding", "INT64", (2,))), 8))
    with pytest.raises(SignatureError, match="content: unit: expected FP32 outputs with names besides"):
        ValueContent("novelty", "", others=("unit",)).check(
            Signature(X, (TensorSpec("novelty", "FP32", ()), TensorSpec("unit", "FP32", ())), 8)
        )
