"""What the fast reader reads is what the careful one does, or it leaves it to that one."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.limits import Limits
from serving.protocols import v2_request
from serving.protocols.json_body import parse
from serving.protocols.route import HttpRequest
from serving.protocols.v2_head import read_head
from serving.protocols.v2_plain import PlainReader
from serving.protocols.v2_request import V2Request, _filled
from tests.serving.protocols.signatures import signature_for

LIMITS = Limits()
PLAIN = PlainReader()


def carefully(body: bytes) -> V2Request:
    return _filled(read_head(parse(body, LIMITS), signature_for(body), LIMITS), memoryview(b""))


def found(body: bytes, read: Any) -> object:  # Any: a function of the body
    """Return all that a request says, or the error."""
    try:
        request = read(body)
    except ServingError as error:
        return type(error), str(error), error.field
    values = [(name, array.dtype, array.shape, array.tobytes()) for name, array in request.inputs.items()]
    return values, request.outputs, request.unlisted, request.id, request.timeout_seconds, request.priority


def decode(body: bytes) -> V2Request:
    decoder = v2_request.Decoder(LIMITS)
    signature = signature_for(body)
    request = HttpRequest("POST", "/", {}, body, 0.0)
    try:
        first = found(body, lambda _: decoder.decode(request, signature))
    except RecursionError:
        raise AssertionError("a body must not make us recurse") from None
    assert found(body, lambda _: decoder.decode(request, signature)) == first, "what was remembered says something else"
    return decoder.decode(request, signature)


numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e-320, 3.5e38, -1.8e308, 2**53 + 1, 2**63, 2**64 - 1, 255, 256, -128, -129]),
)
values = st.one_of(numbers, numbers, numbers, st.booleans(), st.none(), st.text(max_size=3), st.just([]), st.just([1]))


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, object]:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    count = int(np.prod(shape)) + draw(st.sampled_from([0, 0, 0, 1]))
    kind = draw(st.sampled_from([numbers, st.integers(-100, 300), values]))
    flat: Any = draw(st.lists(kind, min_size=count, max_size=count))
    if draw(st.booleans()) and shape and all(shape) and len(flat) == int(np.prod(shape)):
        nested = np.empty(len(flat), object)
        nested[:] = flat
        flat = nested.reshape(shape).tolist()
    datatype = draw(st.sampled_from(["FP32", "FP64", "INT8", "UINT8", "INT64", "UINT64", "BOOL", "BYTES", "FP16", "X"]))
    fields = {"name": draw(st.sampled_from(["x", "x", "z", "[", ""])), "datatype": datatype, "shape": shape, "data": flat}
    if draw(st.integers(0, 9)) == 0:
        fields["parameters"] = draw(
            st.sampled_from([{}, {"binary_data_size": 4}, [], None, {"a": {}}, {"b": "[", "c": 1.5}])
        )
    return fields


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    fields: dict[str, object] = {"inputs": draw(st.lists(inputs(), min_size=1, max_size=2))}
    for key, several in (
        ("id", ["a", "[", 7, None]),
        ("parameters", [{}, {"timeout": 1000}, {"priority": -1}, {"binary_data_output": True}]),
        ("outputs", [[], [{"name": "y"}], [{"name": "y", "parameters": {"binary_data": True}}], {}]),
        ("more", [[], {}, "text", [[1]]]),
    ):
        if draw(st.integers(0, 3)) == 0:
            fields[key] = draw(st.sampled_from(several))
    return json.dumps(fields).encode()


@given(bodies())
def test_both_ways_to_read_a_body_find_the_same(body: bytes) -> None:
    assert found(body, decode) == found(body, carefully)


@pytest.mark.parametrize(
    "data",
    [
        "[1,[2],3]",
        "[[1],2,3]",
        "[[1,2],[3]]",
        "[[1,2,3]]",
        "[[],[1,2,3]]",
        "[1,2,{}]",
        "[1,2,true]",
        '[1,2,"3"]',
        "[1,2,[3,4]]",
    ],
)
def test_numbers_that_lie_in_another_way_are_never_taken(data: str) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":%s}]}' % data.encode()
    with pytest.raises(ServingError):
        decode(body)


def test_of_a_field_that_comes_twice_both_ways_take_the_same() -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"data":[2]}],"id":"a","id":"b"}'
    assert found(body, decode) == found(body, carefully)
    assert decode(body).inputs["x"].tolist() == [2]


def test_the_usual_body_is_read_the_fast_way() -> None:
    for shape, data in (([1, 2, 2], [1, 2.5, 3, 4]), ([1, 2, 2], [[[1, 2.5], [3, 4]]])):
        one = {"name": "x", "datatype": "FP32", "shape": shape, "data": data, "parameters": {}}
        body = json.dumps({"inputs": [one], "id": "7", "parameters": {"binary_data_output": False}}).encode()
        plain = PLAIN.read(body)
        assert plain is not None
        assert plain[1][0].tolist() == [1, 2.5, 3, 4]


def test_large_bodies_leave_no_large_parser_behind() -> None:
    data = ",".join(["1.5"] * 400_000)
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[400000],"data":[%s]}]}' % data.encode()
    assert PLAIN.read(body) is None
    assert decode(body).inputs["x"].shape == (400_000,)


def test_an_id_of_its_own_does_not_take_anothers_answer() -> None:
    decoder = v2_request.Decoder(LIMITS)
    fields = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    signature = signature_for(json.dumps(fields).encode())
    for name in (None, "a", "b", None):
        body = json.dumps(fields if name is None else {**fields, "id": name}).encode()
        request = decoder.decode(HttpRequest("POST", "/", {}, body, 0.0), signature)
        assert request.id == name
        assert (request.answers is None) is (name is not None)


@pytest.mark.parametrize("name", ["\\u0000", "a\\u0000b", "\\ud8fe\\udfb3", "", "Data"])
def test_a_field_that_nobody_knows_is_left_to_the_careful_reader(name: str) -> None:
    for body in (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"%s":{}}]}' % name.encode(),
        b'{"%s":7,"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}' % name.encode(),
    ):
        assert PLAIN.read(body) is None
        assert found(body, decode) == found(body, carefully)
