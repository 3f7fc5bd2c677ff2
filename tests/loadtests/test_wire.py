"""The load test's own encoder and decoder: what one writes the other reads, and what is no answer is none."""

import json
from typing import Any

import numpy as np
import pytest

from loadtests import wire
from models.tensors import DTYPES, Array, TensorSpec


def tensor(datatype: str) -> Array:
    if datatype == "BYTES":
        return np.array([["a", "été"], ["", "d"]], dtype=object)
    return np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])


@pytest.mark.parametrize("datatype", DTYPES)
def test_a_tensor_as_bytes_is_read_back(datatype: str) -> None:
    spec, array = TensorSpec("x", datatype, (2, 2)), tensor(datatype)
    assert np.array_equal(wire.from_bytes(datatype, wire.to_bytes(spec, array), (2, 2)), array)


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - set(wire.BINARY_ONLY)))
def test_requests_say_the_same_in_json_and_in_binary(datatype: str) -> None:
    spec, array = TensorSpec("x", datatype, (2, 2)), tensor(datatype)
    as_json = json.loads(wire.encode_json([spec], {"x": array}))["inputs"][0]
    body, head = wire.encode_binary([spec], {"x": array})
    as_binary = json.loads(body[:head])["inputs"][0]
    assert as_binary["parameters"] == {"binary_data_size": len(body) - head}
    assert np.array_equal(np.array(as_json["data"], array.dtype).reshape(2, 2), array)
    assert np.array_equal(wire.from_bytes(datatype, body[head:], as_binary["shape"]), array)


def answer(**changes: Any) -> bytes:
    output = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5], **changes}
    return json.dumps({"model_name": "m", "outputs": [output]}).encode()


def test_flat_and_nested_data_are_the_same() -> None:
    for data in ([1.5, 2.5], [[1.5, 2.5]]):
        _, found = wire.decode(answer(data=data), None)
        assert found["y"][0] == "FP32"
        assert found["y"][1].tolist() == [[1.5, 2.5]]


def test_an_answer_in_binary() -> None:
    raw = np.array([1.5, 2.5], "<f4").tobytes()
    output = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"model_name": "m", "outputs": [output]}).encode()
    assert wire.decode(head + raw, str(len(head)))[1]["y"][1].tolist() == [[1.5, 2.5]]
    for body, length in ((head + raw + b"!", len(head)), (head + raw[:4], len(head)), (head + raw, 10_000)):
        with pytest.raises(wire.WireError):
            wire.decode(body, str(length))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"outputs": 1}',
        b'{"outputs": [{"name": "y"}]}',
        answer(shape=[3, 3]),
        answer(data=[True, False]),
        answer(data=["a", "b"]),
        answer(data=[None, 1.0]),
        answer(datatype="FP31"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(body, None)
