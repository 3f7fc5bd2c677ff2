"""/predict with texts and records: each as people send them, and each told what is wrong with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.content import Content, RecordContent, RecordField, TextContent, ValueContent
from models.tensors import Array, Signature, TensorSpec
from proofs.graphs import model_of, publish
from tests.serving.desk import Desk, body_of

RECORD = RecordContent((RecordField("carat", "numbers", 0), RecordField("cut", "kinds", 0, ("fair", "good"))))
GOOD = {"carat": 1.5, "cut": "good"}


def publish_length(root: Path) -> None:
    """Publish a model that counts the bytes of a text: padding is none."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["text"], ["truth"], to=TensorProto.BOOL),
            helper.make_node("Cast", ["truth"], ["ones"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["ones", "last"], ["length"], keepdims=0),
        ],
        "length",
        [helper.make_tensor_value_info("text", TensorProto.UINT8, ["N", "T"])],
        [helper.make_tensor_value_info("length", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    signature = Signature((TensorSpec("text", "UINT8", (None,)),), (TensorSpec("length", "FP32", ()),), 8)
    content = Content(TextContent("text", most_bytes=100, pad_to=16), ValueContent("length", "bytes"))
    text = np.array([[*b"abc", 0]], np.uint8)
    publish(
        root, "length", (signature, model_of(graph)), {"text": text}, {"length": np.array([3], np.float32)}, content=content
    )


def publish_price(root: Path) -> None:
    """Publish a model that multiplies a number by a category's place."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["kinds"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["numbers", "factor"], ["product"]),
            helper.make_node("Squeeze", ["product", "last"], ["price"]),
        ],
        "price",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("kinds", TensorProto.INT64, ["N", 1]),
        ],
        [helper.make_tensor_value_info("price", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    inputs = (TensorSpec("numbers", "FP32", (1,)), TensorSpec("kinds", "INT64", (1,)))
    signature = Signature(inputs, (TensorSpec("price", "FP32", ()),), 8)
    golden: dict[str, Array] = {"numbers": np.array([[2]], np.float32), "kinds": np.array([[1]], np.int64)}
    content = Content(RECORD, ValueContent("price", "USD"))
    publish(root, "price", (signature, model_of(graph)), golden, {"price": np.array([2], np.float32)}, content=content)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    publish_length(tmp_path)
    publish_price(tmp_path)
    return Desk(tmp_path)


def form(data: bytes) -> tuple[bytes, dict[str, str]]:
    head = b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + data + b"\r\n--xyz--\r\n", {"content-type": "multipart/form-data; boundary=xyz"}


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/x-www-form-urlencoded", ""])
def test_a_text_is_the_body_itself(desk: Desk, content_type: str) -> None:
    reply = desk.ask("POST", "/predict/length", "für Elise".encode(), {"content-type": content_type})
    assert reply.status == 200
    body = body_of(reply)
    assert (body["value"], body["unit"], body["model"]) == (10.0, "bytes", "length")


def test_a_text_may_be_in_json_or_in_a_form(desk: Desk) -> None:
    text = json.dumps({"text": "für Elise"}).encode()
    inside = desk.ask("POST", "/predict/length", text, {"content-type": "Application/JSON; charset=utf-8"})
    assert body_of(inside)["value"] == 10.0
    assert body_of(desk.ask("POST", "/predict/length", *form("für Elise".encode())))["value"] == 10.0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"text": 1}', b'{"text": "a", "more": 1}', b'{"texts": "a"}', b"\xff"])
def test_json_without_a_text_says_what_is_expected(desk: Desk, body: bytes) -> None:
    reply = desk.ask("POST", "/predict/length", body, {"content-type": "application/json"})
    assert reply.status == 400
    assert body_of(reply)["error"].startswith('text: expected JSON like {"text": "…"}, found')


@pytest.mark.parametrize("body", [b"", b"  ", b"\xff\xfe", b"a\0", b"x" * 101])
def test_what_is_no_text_is_400(desk: Desk, body: bytes) -> None:
    reply = desk.ask("POST", "/predict/length", body)
    assert reply.status == 400
    assert body_of(reply)["error"].startswith("text: expected")


def test_a_record_is_answered_with_its_value(desk: Desk) -> None:
    for body, headers in (
        (json.dumps(GOOD).encode(), {"content-type": "application/json"}),
        form(json.dumps(GOOD).encode()),
    ):
        reply = desk.ask("POST", "/predict/price", body, headers)
        assert reply.status == 200
        told = body_of(reply)
        assert (told["value"], told["unit"]) == (1.5, "USD")


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"carat": 1}, "cut"),
        ({**GOOD, "cut": "bad"}, "cut"),
        ({**GOOD, "carat": "1"}, "carat"),
        ({**GOOD, "x": 1}, "x"),
        ([], "record"),
    ],
)
def test_a_record_that_is_none_names_its_field(desk: Desk, record: object, field: str) -> None:
    reply = desk.ask("POST", "/predict/price", json.dumps(record).encode())
    assert reply.status == 400
    assert body_of(reply)["error"].startswith(f"{field}: expected")


def test_a_picture_is_no_record(desk: Desk) -> None:
    reply = desk.ask("POST", "/predict/price", b"\x89PNG\r\n\x1a\n", {"content-type": "image/png"})
    assert reply.status == 400
    assert body_of(reply)["error"].startswith("record: expected a JSON object")
