import numpy as np
import pytest

from models import generated
from models.tensors import DTYPES, Signature, TensorSpec


def signature(*specs: TensorSpec, max_batch_size: int = 8) -> Signature:
    return Signature(specs, (TensorSpec("y", "FP32", ()),), max_batch_size)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (3,), (None, 2), (0,)])
@pytest.mark.parametrize("most", [0, 8])
def test_inputs_fit_the_signature(datatype: str, shape: tuple[int | None, ...], most: int) -> None:
    wanted = signature(TensorSpec("a", datatype, shape), TensorSpec("b", "FP32", ()), max_batch_size=most)
    assert wanted.check(generated.inputs(wanted, rows=8, length=5)) == (8 if most else 1)


def test_they_are_the_same_each_time_and_the_first_rows_do_not_depend_on_how_many_follow() -> None:
    wanted = signature(TensorSpec("a", "FP32", (3,)), max_batch_size=32)
    few, many = (generated.inputs(wanted, rows=rows, length=1)["a"] for rows in (3, 32))
    np.testing.assert_array_equal(few, many[:3])
    assert len({row.tobytes() for row in many}) == 32


def test_texts_are_texts_and_whole_numbers_small() -> None:
    wanted = signature(TensorSpec("a", "BYTES", (9,)), TensorSpec("b", "INT64", (9,)))
    made = generated.inputs(wanted, rows=8, length=1)
    assert {type(text) for text in made["a"].ravel()} == {str}
    assert set(made["b"].ravel().tolist()) <= {0, 1, 2, 3}


def test_lengths_are_tried_for_free_axes_only_and_long_ones_only_where_they_fit() -> None:
    assert list(generated.lengths(signature(TensorSpec("a", "FP32", (3, 4))))) == [1]
    assert list(generated.lengths(signature(TensorSpec("a", "FP32", (None,))))) == [8, 5, 64, 1]
    assert list(generated.lengths(signature(TensorSpec("a", "FP32", (None,) * 4)))) == [8, 5, 1]


def test_bfloat16_keeps_the_upper_half() -> None:
    assert generated.bfloat16(np.array([1.0, -2.0], np.float32)).tolist() == [0x3F80, 0xC000]
    assert generated.bfloat16(np.array(1.0, np.float32)).shape == ()
