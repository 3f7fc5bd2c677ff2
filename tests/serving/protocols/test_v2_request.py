import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.tensors import DTYPES, Array, Signature, TensorSpec
from serving.limits import Limits
from serving.protocols import v2_request, v2_response
from serving.protocols.route import HttpRequest
from serving.protocols.v2_request import V2Request
from serving.request import InferResponse, Timings
from tests.serving.protocols.signatures import signature_for

LIMITS = Limits()
#: Datatypes that JSON can carry without loss. Texts are tested on their own.
NUMBERS = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64")

Json = dict[str, Any]  # Any: a body under construction


def decode(body: Json | bytes) -> V2Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return v2_request.Decoder(LIMITS).decode(HttpRequest("POST", "/", {}, data, 0.0), signature_for(data))


def encode(array: Array, datatype: str, id: str | None = None) -> bytes:
    answer = InferResponse("toy", 3, "d" * 64, {"x": array}, id, Timings(0, 0, 0, 0))
    spec = TensorSpec("x", datatype, (None,) * array.ndim)
    return v2_response.encode(answer, V2Request({}), Signature((spec,), (spec,), 0), (), LIMITS).body


def tensor(array: Array, datatype: str, *, flat: bool = False, name: str = "x") -> Json:
    values = array.ravel().tolist() if flat else array.tolist()
    data = values if isinstance(values, list) else [values]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(NUMBERS))
    dtype = DTYPES[datatype]
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    return datatype, draw(arrays.arrays(dtype, shape, elements=elements))


@given(tensors(), st.booleans())
def test_decoding_gives_back_any_array_that_json_can_carry(given: tuple[str, Array], flat: bool) -> None:
    datatype, array = given
    found = decode({"inputs": [tensor(array, datatype, flat=flat)]}).inputs["x"]
    assert found.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(found, array, strict=True)


@given(tensors())
def test_what_is_encoded_can_be_decoded(given: tuple[str, Array]) -> None:
    datatype, array = given
    encoded = json.loads(encode(array, datatype))
    found = decode({"inputs": encoded["outputs"]}).inputs["x"]
    np.testing.assert_array_equal(found, array, strict=True)


@given(st.lists(st.text(max_size=5), max_size=6))
def test_texts_travel_as_they_are(texts: list[str]) -> None:
    array = np.array(texts, dtype=object)
    found = decode({"inputs": [tensor(array, "BYTES")]}).inputs["x"]
    assert (found.dtype, found.tolist()) == (np.dtype(object), texts)
    encoded = json.loads(encode(found, "BYTES"))
    assert encoded["outputs"][0]["data"] == texts


@pytest.mark.parametrize("datatype", NUMBERS)
def test_the_extremes_of_every_datatype_are_taken(datatype: str) -> None:
    dtype = DTYPES[datatype]
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else None if dtype.kind == "b" else np.iinfo(dtype)
    array = np.array([False, True] if limits is None else [limits.min, limits.max, 0], dtype)
    found = decode({"inputs": [tensor(array, datatype)]}).inputs["x"]
    np.testing.assert_array_equal(found, array, strict=True)


def test_a_request_says_what_it_wants() -> None:
    wish = decode({"id": "42", "inputs": [tensor(np.zeros(1), "FP64")], "outputs": [{"name": "b"}, {"name": "a"}]})
    assert (wish.id, list(wish.outputs or ())) == ("42", ["b", "a"])


@pytest.mark.parametrize("extra", [{}, {"outputs": None}, {"outputs": []}, {"id": None}, {"model_name": "x", "more": [1]}])
def test_what_is_absent_means_everything_and_what_is_unknown_is_passed_over(extra: Json) -> None:
    wish = decode({"inputs": [tensor(np.zeros(1), "FP64")], **extra})
    assert (wish.outputs, wish.id) == (None, None)


def test_inputs_keep_their_names_and_order() -> None:
    body = {"inputs": [tensor(np.zeros(1), "FP64", name=name) for name in ("z", "a", "é ")]}
    assert list(decode(body).inputs) == ["z", "a", "é "]


def test_integers_are_numbers_for_a_float_and_negative_zero_keeps_its_sign() -> None:
    found = decode(b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[1,-0.0,1e-50]}]}').inputs["x"]
    assert found.tolist() == [1.0, 0.0, 0.0]
    assert np.signbit(found).tolist() == [False, True, False]


@pytest.mark.parametrize("size", [LIMITS.tensors, 1])
def test_as_many_inputs_as_the_limit_are_taken(size: int) -> None:
    body = {"inputs": [tensor(np.zeros(1), "FP64", name=f"x{index}") for index in range(size)]}
    assert len(decode(body).inputs) == size


def test_shapes_and_ids_at_their_limits_are_taken() -> None:
    array = np.zeros((1,) * LIMITS.dimensions)
    assert decode({"inputs": [tensor(array, "FP64")]}).inputs["x"].shape == array.shape
    name = "n" * LIMITS.id_characters
    wish = decode({"id": "i" * LIMITS.id_characters, "inputs": [tensor(np.zeros(1), "FP64", name=name)]})
    assert (len(wish.id or ""), list(wish.inputs)) == (LIMITS.id_characters, [name])


def test_what_json_lacks_is_written_as_null() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    encoded = encode(array, "FP32")
    assert json.loads(encoded, parse_constant=pytest.fail)["outputs"][0]["data"] == [None, None, None, 1.5]


def test_an_answer_names_model_and_version_and_echoes_the_id_only_where_there_was_one() -> None:
    array = np.arange(6, dtype=np.int64).reshape(3, 2)[::2]
    assert json.loads(encode(array, "INT64", id="ä")) == {
        "model_name": "toy",
        "model_version": "3",
        "id": "ä",
        "outputs": [{"name": "x", "datatype": "INT64", "shape": [2, 2], "data": [0, 1, 4, 5]}],
    }
    assert "id" not in json.loads(encode(array, "INT64"))


def test_a_float32_is_written_with_the_digits_it_has() -> None:
    array = np.array([0.1], np.float32)
    assert b'"data":[0.1]' in encode(array, "FP32")
