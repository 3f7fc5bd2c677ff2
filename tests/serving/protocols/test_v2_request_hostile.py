"""Bodies that must be refused: each with the error it gets and the field that the error names."""

import json
import time
from typing import Any

import pytest

from serving.errors import InvalidInput, MalformedRequest, ServingError, Unsupported
from serving.limits import Limits
from serving.protocols import v2_request
from serving.protocols.route import HttpRequest
from tests.serving.protocols.signatures import signature_for

LIMITS = Limits()
NOTHING = object()


def decode(body: bytes) -> None:
    v2_request.Decoder(LIMITS).decode(HttpRequest("POST", "/", {}, body, 0.0), signature_for(body))


def one(**changes: Any) -> bytes:  # Any: whatever a client may send
    """Return a right request with one input `x`, FP32 [2], after some changes to that input."""
    field = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2], **changes}
    return json.dumps({"inputs": [{key: value for key, value in field.items() if value is not NOTHING}]}).encode()


def with_fields(**fields: Any) -> bytes:  # Any: whatever a client may send
    return json.dumps({**json.loads(one()), **fields}).encode()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def raw(data: str, datatype: str = "FP32", shape: str = "[1]") -> bytes:
    """Return a request with these very characters, which no encoder would write, as its values."""
    return f'{{"inputs":[{{"name":"x","datatype":{json.dumps(datatype)},"shape":{shape},"data":{data}}}]}}'.encode()


MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "body"),
    "blanks": (b" \n", "body"),
    "no JSON": (b"hello", "body"),
    "half an object": (b'{"inputs":', "body"),
    "two objects": (one() + one(), "body"),
    "a byte order mark": (b"\xef\xbb\xbf" + one(), "body"),
    "UTF-16": (one().decode().encode("utf-16"), "body"),
    "no UTF-8": (one(name="é").replace(rb"\u00e9", b"\xff"), "body"),
    "half a character": (one().replace(b'"x"', rb'"\ud800"'), "body"),
    "single quotes": (one().replace(b'"', b"'"), "body"),
    "a trailing comma": (one().replace(b"]}]}", b"],}]}"), "body"),
    "NaN": (raw("[NaN]"), "body"),
    "Infinity": (raw("[-Infinity]"), "body"),
    "a number beyond double": (raw("[1e999]"), "body"),
    "5,000 digits": (raw(f"[{'9' * 5000}]"), "body"),
    "hexadecimal": (raw("[0x10]"), "body"),
    "a leading zero": (raw("[01]"), "body"),
    "100,000 brackets": (b"[" * 100_000, "body"),
    "100,000 objects": (b'{"inputs":' * 100_000, "body"),
    "a list": (b"[]", "body"),
    "null": (b"null", "body"),
    "a number": (b"1", "body"),
    "a text": (b'"inputs"', "body"),
    "no inputs": (b"{}", "inputs"),
    "inputs null": (b'{"inputs":null}', "inputs"),
    "inputs an object": (b'{"inputs":{}}', "inputs"),
    "inputs a text": (b'{"inputs":"x"}', "inputs"),
    "inputs empty": (b'{"inputs":[]}', "inputs"),
    "inputs of numbers": (b'{"inputs":[1]}', "inputs"),
    "inputs of lists": (b'{"inputs":[[]]}', "inputs"),
    "one input null": (b'{"inputs":[null]}', "inputs"),
    "65 inputs": (json.dumps({"inputs": [{}] * 65}).encode(), "inputs"),
    "an empty input": (b'{"inputs":[{}]}', "inputs[0].name"),
    "name missing": (one(name=NOTHING), "inputs[0].name"),
    "name a number": (one(name=1), "inputs[0].name"),
    "name a list": (one(name=["x"]), "inputs[0].name"),
    "the same input twice": (json.dumps({"inputs": json.loads(one())["inputs"] * 2}).encode(), "inputs[1].name"),
    "datatype missing": (one(datatype=NOTHING), "x.datatype"),
    "datatype unknown": (one(datatype="FP31"), "x.datatype"),
    "datatype in small letters": (one(datatype="fp32"), "x.datatype"),
    "datatype a number": (one(datatype=32), "x.datatype"),
    "datatype a list": (one(datatype=["FP32"]), "x.datatype"),
    "datatype nested deeply": (one(datatype="?").replace(b'"?"', nested(500).encode()), "body"),
    "datatype nested": (one(datatype="?").replace(b'"?"', nested(50).encode()), "x.datatype"),
    "datatype very long": (one(datatype="F" * 1_000_000), "x.datatype"),
    "shape missing": (one(shape=NOTHING), "x.shape"),
    "shape null": (one(shape=None), "x.shape"),
    "shape a number": (one(shape=2), "x.shape"),
    "shape a text": (one(shape="2"), "x.shape"),
    "shape of texts": (one(shape=["2"]), "x.shape"),
    "shape of floats": (one(shape=[2.0]), "x.shape"),
    "shape of truth values": (one(shape=[True, 2]), "x.shape"),
    "shape negative": (one(shape=[-2]), "x.shape"),
    "shape with -1": (one(shape=[-1]), "x.shape"),
    "shape with null": (one(shape=[None]), "x.shape"),
    "shape nested": (one(shape=[[2]]), "x.shape"),
    "shape nested deeply": (one(shape=["?"]).replace(b'"?"', nested(500).encode()), "body"),
    "shape nested more": (one(shape=["?"]).replace(b'"?"', nested(50).encode()), "x.shape"),
    "shape beyond 64 bits": (one(shape=[2**64]), "x.shape"),
    "17 dimensions": (one(shape=[1] * 16 + [2]), "x.shape"),
    "a million dimensions": (one(shape=[1] * 1_000_000), "x.shape"),
    "data missing": (one(data=NOTHING), "x.data"),
    "data null": (one(data=None), "x.data"),
    "data a number": (one(data=1), "x.data"),
    "data a text": (one(data="12"), "x.data"),
    "data an object": (one(data={"0": 1}), "x.data"),
    "id a number": (with_fields(id=1), "id"),
    "id a list": (with_fields(id=[]), "id"),
    "id too long": (with_fields(id="i" * 257), "id"),
    "outputs an object": (with_fields(outputs={"name": "y"}), "outputs"),
    "outputs of texts": (with_fields(outputs=["y"]), "outputs"),
    "65 outputs": (with_fields(outputs=[{"name": "y"}] * 65), "outputs"),
    "output without a name": (with_fields(outputs=[{}]), "outputs[0].name"),
    "output's name a number": (with_fields(outputs=[{"name": "y"}, {"name": 1}]), "outputs[1].name"),
    "the same output twice": (with_fields(outputs=[{"name": "y"}, {"name": "y"}]), "outputs[1].name"),
}

INVALID: dict[str, tuple[bytes, str]] = {
    "name empty": (one(name=""), "inputs[0].name"),
    "name of no input": (one(name="n" * 257), "inputs[0].name"),
    "name of no output": (with_fields(outputs=[{"name": "y" * 257}]), "outputs[0].name"),
    "too few values": (one(data=[1]), "x.data"),
    "too many values": (one(data=[1, 2, 3]), "x.data"),
    "no values": (one(data=[]), "x.data"),
    "values for no rows": (one(shape=[0]), "x.data"),
    "values for a scalar": (one(shape=[]), "x.data"),
    "a product beyond 64 bits": (one(shape=[2**32, 2**32]), "x.data"),
    "a product that wraps to the number of values": (one(shape=[2**63, 2**63, 2]), "x.data"),
    "a length beyond an index, of nothing": (one(shape=[0, 2**64 - 1], data=[]), "x.shape"),
    "a size beyond an index, of nothing": (one(shape=[0, 2**62, 2**62], data=[]), "x.shape"),
    "a text among numbers": (one(data=[1, "2"]), "x.data"),
    "true for a float": (one(data=[1, True]), "x.data"),
    "null for NaN": (one(data=[1, None]), "x.data"),
    "an object for a number": (one(data=[1, {}]), "x.data"),
    "a list for a number": (one(data=[1, [2]]), "x.data"),
    "lists nested deeply": (raw(f"[1,{nested(50)}]", shape="[2]"), "x.data"),
    "lists nested deeper than the shape": (raw(nested(50)), "x.data"),
    "nested, but flat in the shape": (one(shape=[2], data=[[1], [2]]), "x.data"),
    "ragged": (one(shape=[2, 2], data=[[1, 2], [3]]), "x.data"),
    "ragged, with the right number of values": (one(shape=[2, 2], data=[[1, 2, 3], [4]]), "x.data"),
    "transposed": (one(shape=[3, 2], data=[[1, 2, 3], [4, 5, 6]]), "x.data"),
    "half nested": (one(shape=[2, 2], data=[[1, 2], 3, 4]), "x.data"),
    "half flat": (one(shape=[2, 2], data=[1, 2, [3, 4]]), "x.data"),
    "nested one level too few": (one(shape=[1, 2, 1], data=[[1, 2]]), "x.data"),
    "300 as UINT8": (one(datatype="UINT8", data=[300, 0]), "x.data"),
    "-1 as UINT8": (one(datatype="UINT8", data=[0, -1]), "x.data"),
    "-1 as UINT64": (one(datatype="UINT64", data=[0, -1]), "x.data"),
    "128 as INT8": (one(datatype="INT8", data=[128, 0]), "x.data"),
    "2**31 as INT32": (one(datatype="INT32", data=[2**31, 0]), "x.data"),
    "2**63 as INT64": (one(datatype="INT64", data=[2**63, 0]), "x.data"),
    "2**64 as UINT64": (one(datatype="UINT64", data=[2**64, 0]), "x.data"),
    "1.5 as INT64": (one(datatype="INT64", data=[1.5, 0]), "x.data"),
    "1.0 as INT64": (one(datatype="INT64", data=[1.0, 0]), "x.data"),
    "true as INT64": (one(datatype="INT64", data=[True, 0]), "x.data"),
    "null as INT64": (one(datatype="INT64", data=[None, 0]), "x.data"),
    "1 as BOOL": (one(datatype="BOOL", data=[1, 0]), "x.data"),
    "a text as BOOL": (one(datatype="BOOL", data=["true", "false"]), "x.data"),
    "1e300 as FP32": (one(data=[1e300, 0]), "x.data"),
    "-3.5e38 as FP32": (one(data=[0, -3.5e38]), "x.data"),
    "a number as BYTES": (one(datatype="BYTES", data=["a", 1]), "x.data"),
    "null as BYTES": (one(datatype="BYTES", data=["a", None]), "x.data"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_the_protocol_is_malformed(case: str) -> None:
    body, field = MALFORMED[case]
    _refused(body, MalformedRequest, field)


@pytest.mark.parametrize("case", INVALID)
def test_values_that_do_not_agree_with_shape_or_datatype_are_invalid(case: str) -> None:
    body, field = INVALID[case]
    _refused(body, InvalidInput, field)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_a_datatype_that_json_cannot_carry_is_unsupported(datatype: str) -> None:
    _refused(one(datatype=datatype), Unsupported, "x.datatype")


def _refused(body: bytes, kind: type[ServingError], field: str) -> None:
    began = time.process_time()
    with pytest.raises(kind) as error:
        decode(body)
    assert time.process_time() - began < 2.0
    assert error.value.field == field
    assert error.value.expected
    assert error.value.found
    assert len(str(error.value)) < 700, "an error must not send a client's body back"


def test_a_claim_of_a_terabyte_costs_nothing() -> None:
    began = time.process_time()
    for body in (one(shape=[2**40]), one(shape=[10**9]), one(shape=[2**20, 2**20])):
        with pytest.raises(InvalidInput):
            decode(body)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("brackets", [b"[],", b"{},"])
def test_lists_that_would_fill_the_memory_are_counted_before_they_are_built(brackets: bytes) -> None:
    body = b'{"inputs":[' + brackets * 10_000_000 + b"1]}"
    began = time.process_time()
    _refused(body, MalformedRequest, "body")
    assert time.process_time() - began < 0.5


def test_a_batch_of_photographs_nested_to_the_last_channel_is_taken() -> None:
    nested = "[" + ",".join(["[" + ",".join(["[0,0,0]"] * 224) + "]"] * 224) + "]"
    data = "[" + ",".join([nested] * 4) + "]"
    decode(raw(data, "UINT8", "[4,224,224,3]"))


def test_the_body_that_all_others_are_made_from_is_right() -> None:
    decode(one())
    decode(with_fields(id="i" * 256))
