import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.fields import FieldError
from models.tensors import DTYPES, Array, Signature, SignatureError, TensorSpec, rows_of, show_shape

IMAGE = TensorSpec("image", "UINT8", (2, 3))
WEIGHT = TensorSpec("weight", "FP32", ())
WORDS = TensorSpec("words", "INT64", (None,))
OUT = TensorSpec("out", "FP32", (4,))

names = st.text(min_size=1, max_size=10)
shapes = st.lists(st.none() | st.integers(0, 2**31), max_size=4).map(tuple)
specs = st.builds(TensorSpec, names, st.sampled_from(sorted(DTYPES)), shapes)
some_specs = st.lists(specs, min_size=1, max_size=4, unique_by=lambda spec: spec.name).map(tuple)
signatures = st.builds(Signature, some_specs, some_specs, st.integers(0, 10_000))


def signature(*inputs: TensorSpec, max_batch_size: int = 8) -> Signature:
    return Signature(inputs, (OUT,), max_batch_size)


@given(signatures)
def test_json_round_trip(signature: Signature) -> None:
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


def test_every_datatype_has_a_dtype() -> None:
    for datatype, dtype in DTYPES.items():
        assert TensorSpec("x", datatype, ()).dtype == dtype


@pytest.mark.parametrize("datatype", ["", "float32", "fp32", "FP8"])
def test_an_unknown_datatype_is_refused(datatype: str) -> None:
    with pytest.raises(SignatureError, match="x: expected a datatype of BOOL, UINT8"):
        TensorSpec("x", datatype, ())


@pytest.mark.parametrize(
    ("json", "field"),
    [
        ({"name": 1, "datatype": "FP32", "shape": []}, "name"),
        ({"name": "x", "datatype": "FP33", "shape": []}, "datatype"),
        ({"name": "x", "datatype": None, "shape": []}, "datatype"),
        ({"name": "x", "datatype": "FP32"}, "shape"),
        ({"name": "x", "datatype": "FP32", "shape": [-1]}, "shape"),
        ({"name": "x", "datatype": "FP32", "shape": [True]}, "shape"),
        ({"name": "x", "datatype": "FP32", "shape": [2.0]}, "shape"),
    ],
)
def test_a_malformed_spec_is_refused(json: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        TensorSpec.from_json(json)
    assert caught.value.field == field


def test_a_signature_has_different_names_and_a_batch_size() -> None:
    with pytest.raises(SignatureError, match="inputs: expected one or more tensors with different names"):
        signature()
    with pytest.raises(SignatureError, match="inputs"):
        signature(IMAGE, IMAGE)
    with pytest.raises(SignatureError, match="outputs"):
        Signature((IMAGE,), (), 8)
    with pytest.raises(SignatureError, match="max_batch_size: expected 0 to 65536, found -1"):
        signature(IMAGE, max_batch_size=-1)


def test_check_counts_the_rows() -> None:
    image, weight, words = np.zeros((5, 2, 3), np.uint8), np.zeros(5, np.float32), np.zeros((5, 7), np.int64)
    assert signature(IMAGE, WEIGHT, WORDS).check({"image": image, "weight": weight, "words": words}) == 5


@pytest.mark.parametrize("rows", [1, 8])
def test_check_takes_up_to_the_largest_batch(rows: int) -> None:
    assert signature(IMAGE).check({"image": np.zeros((rows, 2, 3), np.uint8)}) == rows


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        ({}, "image", "expected the inputs image, weight, found no such input in the request"),
        ({"image": np.zeros((2, 2, 3), np.uint8)}, "weight", "no such input"),
        ({"image": np.zeros((2, 2, 3), np.uint8), "wait": np.zeros(2, np.float32)}, "weight", "no such input"),
        (
            {"image": np.zeros((2, 2, 3), np.uint8), "weight": np.zeros(2, np.float32), "more": np.zeros(2)},
            "more",
            "an input the model does not take",
        ),
        (
            {"image": np.zeros((2, 2, 3), np.int8), "weight": np.zeros(2, np.float32)},
            "image",
            "expected datatype UINT8, found dtype int8",
        ),
        (
            {"image": np.zeros((2, 2, 3), np.uint8), "weight": np.zeros(2, ">f4")},
            "weight",
            "expected datatype FP32, found dtype >f4",
        ),
        (
            {"image": np.zeros((2, 3, 2), np.uint8), "weight": np.zeros(2, np.float32)},
            "image",
            r"expected shape \[-1, 2, 3\], found shape \[2, 3, 2\]",
        ),
        ({"image": np.zeros((2, 3), np.uint8), "weight": np.zeros(2, np.float32)}, "image", "shape"),
        ({"image": np.zeros((0, 2, 3), np.uint8), "weight": np.zeros(0, np.float32)}, "image", "1 to 8 rows, found 0"),
        ({"image": np.zeros((9, 2, 3), np.uint8), "weight": np.zeros(9, np.float32)}, "image", "1 to 8 rows, found 9"),
        (
            {"image": np.zeros((2, 2, 3), np.uint8), "weight": np.zeros(3, np.float32)},
            "weight",
            "expected 2 rows, as in 'image', found 3 rows",
        ),
        ({"image": np.zeros((2, 2, 3), np.uint8), "weight": np.float32(1)}, "weight", "shape"),
    ],
)
def test_check_names_the_tensor_that_does_not_fit(inputs: dict[str, Array], field: str, message: str) -> None:
    with pytest.raises(SignatureError, match=f"^{field}: .*{message}") as caught:
        signature(IMAGE, WEIGHT).check(inputs)
    assert caught.value.field == field


def test_without_a_batch_axis_a_request_is_one_row_of_the_whole_shape() -> None:
    state = TensorSpec("state", "FP32", (2, None, 4))
    alone = signature(state, WEIGHT, max_batch_size=0)
    assert not alone.batched
    assert alone.full_shape(state) == (2, None, 4)
    assert alone.check({"state": np.zeros((2, 3, 4), np.float32), "weight": np.array(1, np.float32)}) == 1
    with pytest.raises(SignatureError, match="state"):
        alone.check({"state": np.zeros((1, 2, 3, 4), np.float32), "weight": np.array(1, np.float32)})


def test_tensors_are_found_by_name() -> None:
    found = signature(IMAGE, WEIGHT)
    assert found.input("weight") is WEIGHT
    assert found.input("out") is None
    assert found.output("out") is OUT
    assert found.output("image") is None


def test_a_shape_is_shown_as_the_protocol_writes_it() -> None:
    assert show_shape((None, 2, None)) == "[-1, 2, -1]"
    assert show_shape(()) == "[]"


def test_rows_are_views() -> None:
    array = np.arange(12).reshape(4, 3)
    rows = rows_of({"a": array}, 1, 3)["a"]
    assert rows.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert np.shares_memory(rows, array)
