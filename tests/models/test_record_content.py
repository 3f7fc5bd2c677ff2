import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.content import Content, ContentError, RecordContent, RecordField, ValueContent
from models.fields import FieldError
from models.tensors import Signature, SignatureError, TensorSpec

CUTS = ("fair", "good", "idéal")
RECORD = RecordContent(
    (
        RecordField("carat", "numbers", 1),
        RecordField("cut", "kinds", 0, CUTS),
        RecordField("depth", "numbers", 0),
    )
)
SIGNATURE = Signature(
    (TensorSpec("numbers", "FP32", (2,)), TensorSpec("kinds", "INT64", (1,))), (TensorSpec("price", "FP32", ()),), 8
)
GOOD = {"carat": 0.3, "cut": "idéal", "depth": 61}


def sent(record: object) -> bytes:
    return json.dumps(record).encode()


def test_each_field_stands_in_its_place() -> None:
    read = RECORD.read(sent(GOOD))
    assert read["numbers"].dtype == np.float32
    assert read["numbers"].tolist() == [[61.0, np.float32(0.3)]]
    assert read["kinds"].dtype == np.int64
    assert read["kinds"].tolist() == [[2]]
    assert json.loads(RECORD.write(read)) == {"carat": 0.3, "cut": "idéal", "depth": 61.0}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(CUTS))
def test_a_row_written_and_read_is_the_same_row(number: float, cut: str) -> None:
    row = RECORD.to_arrays({"carat": number, "cut": cut, "depth": -number})
    assert RECORD.restores(row)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "record: expected a JSON object"),
        (b"[1]", "record: expected a JSON object, found list"),
        (b"\xff", "record: expected a JSON object"),
        (b"[" * 10_000, "record: expected a JSON object"),
        (b" " * 70_000, "record: expected at most 65,536 bytes, found 70,000"),
        (b'{"carat": NaN}', "record: expected finite numbers, found NaN"),
        (b'{"carat": 1, "carat": 2}', "record: expected each field once"),
        (sent({**GOOD, "colour": 1}), "colour: expected the fields carat, cut, depth, found one that is none of them"),
        (sent({"carat": 1, "cut": "good"}), "depth: expected a value, found no such field in the record"),
        (sent({**GOOD, "carat": "1"}), "carat: expected a number, found '1'"),
        (sent({**GOOD, "carat": True}), "carat: expected a number, found True"),
        (sent({**GOOD, "carat": None}), "carat: expected a number, found None"),
        (sent({**GOOD, "carat": 1e39}), "carat: expected a finite number of 32 bits"),
        (sent({**GOOD, "carat": 10**400}), "carat: expected a finite number of 32 bits"),
        (b'{"carat": ' + b"1" * 5000 + b"}", "record: expected a JSON object, found a number of too many digits"),
        (b"[" * 20_000, "record: expected a JSON object, found one that is nested too deeply"),
        (sent({**GOOD, "cut": "Fair"}), "cut: expected one of fair, good, idéal, found 'Fair'"),
        (sent({**GOOD, "cut": 1}), "cut: expected one of fair, good, idéal, found 1"),
        (sent({**GOOD, "cut": ["good"]}), "cut: expected one of fair, good, idéal"),
    ],
)
def test_what_is_no_record_is_refused_by_its_field(data: bytes, message: str) -> None:
    with pytest.raises(ContentError) as caught:
        RECORD.read(data)
    assert str(caught.value).startswith(message)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(ContentError):
        RECORD.read(data)


def test_json_round_trip() -> None:
    content = Content(RECORD, ValueContent("price", "USD"))
    assert Content.from_json(json.loads(json.dumps(content.to_json()))) == content
    described = content.to_json()
    assert isinstance(described["input"], dict)
    described["input"]["fields"][0]["place"] = -1
    with pytest.raises(FieldError) as caught:
        Content.from_json(described)
    assert caught.value.field == "fields[0].place"


def test_a_record_fits_its_signature() -> None:
    RECORD.check(SIGNATURE)
    carat, cut, depth = RECORD.columns
    for columns, message in (
        ((), "content: fields"),
        ((carat, carat, cut), "content: fields"),
        ((carat, cut), "content: numbers: expected a field for each column, and one only"),
        ((carat, cut, replace(depth, place=1)), "content: numbers: expected a field for each column"),
        ((carat, cut, replace(depth, categories=("a",))), "content: numbers: expected numbers only, or categories only"),
        ((carat, depth, replace(cut, categories=("a", "a"))), "content: cut: expected categories that differ"),
        ((carat, depth, replace(cut, categories=None)), "content: kinds: expected TensorSpec"),
    ):
        with pytest.raises(SignatureError, match=message):
            RecordContent(columns).check(SIGNATURE)
