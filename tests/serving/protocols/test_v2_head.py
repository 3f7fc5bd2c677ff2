import json

import numpy as np
import pytest

from models.tensors import Signature, TensorSpec
from serving.errors import InvalidInput, MalformedRequest
from serving.limits import Limits
from serving.protocols import v2_response
from serving.protocols.route import HttpRequest
from serving.protocols.v2_head import HeadMemory, V2Head
from serving.protocols.v2_request import HEADER_LENGTH, Decoder
from serving.request import InferResponse, Timings

LIMITS = Limits()
TWO = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),), 8)
THREE = Signature((TensorSpec("x", "FP32", (3,)),), (TensorSpec("y", "FP32", (3,)),), 8)


def request(rows: int, length: int = 2, *, size: int | None = None, **more: object) -> HttpRequest:
    data = np.arange(rows * length, dtype=np.float32).tobytes()
    described = {
        "name": "x",
        "datatype": "FP32",
        "shape": [rows, length],
        "parameters": {"binary_data_size": len(data) if size is None else size},
    }
    head = json.dumps({"inputs": [described], **more}).encode()
    return HttpRequest("POST", "/", {HEADER_LENGTH: str(len(head))}, head + data, 0.0)


def test_what_is_remembered_is_what_was_read() -> None:
    decoder = Decoder(LIMITS)
    wanted = [{"name": "y", "parameters": {"binary_data": True}}]
    several = [request(rows, id=name, outputs=wanted) for rows in (1, 3) for name in ("a", "b")]
    first = [decoder.decode(one, TWO) for one in several]
    again = [decoder.decode(one, TWO) for one in several]
    for one, other in zip(first, again, strict=True):
        assert (one.id, one.outputs, one.priority) == (other.id, other.outputs, other.priority)
        np.testing.assert_array_equal(one.inputs["x"], other.inputs["x"])


def test_another_signature_is_another_matter() -> None:
    decoder = Decoder(LIMITS)
    assert decoder.decode(request(1), TWO)
    with pytest.raises(InvalidInput, match="shape"):
        decoder.decode(request(1), THREE)
    assert decoder.decode(request(1), TWO)


def test_what_is_wrong_is_said_each_time() -> None:
    decoder = Decoder(LIMITS)
    assert decoder.decode(request(2), TWO)
    for _ in range(2):
        with pytest.raises(InvalidInput):
            decoder.decode(request(2, size=12), TWO)
    short = request(2)
    short.body = short.body[:-4]
    for _ in range(2):
        with pytest.raises(MalformedRequest, match="binary_data_size"):
            decoder.decode(short, TWO)
    long = request(2)
    long.body += b"\0"
    for _ in range(2):
        with pytest.raises(MalformedRequest, match="behind the JSON"):
            decoder.decode(long, TWO)


def test_values_in_a_head_are_never_remembered() -> None:
    decoder = Decoder(LIMITS)
    for value in (1.0, 2.0):
        described = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [value, value]}
        head = json.dumps({"inputs": [described]}).encode()
        sent = HttpRequest("POST", "/", {HEADER_LENGTH: str(len(head))}, head, 0.0)
        assert decoder.decode(sent, TWO).inputs["x"].tolist() == [[value, value]]


def test_an_answer_that_begins_as_before_has_its_own_values_and_shape() -> None:
    decoder = Decoder(LIMITS)
    wanted = [{"name": "y", "parameters": {"binary_data": True}}]
    for number in range(6):
        rows = 1 + number % 3
        asked = decoder.decode(request(rows, outputs=wanted, id="q"), TWO)
        outputs = {"y": np.full((rows, 2), number, np.float32)}
        response = InferResponse("m", 1, "0" * 64, outputs, asked.id, Timings(0, 0, 0, 0))
        answer = v2_response.encode(response, asked, TWO, (), LIMITS)
        length = int(dict(answer.headers)[HEADER_LENGTH])
        told = json.loads(answer.body[:length])
        assert told["id"] == "q"
        assert told["outputs"] == [
            {"name": "y", "datatype": "FP32", "shape": [rows, 2], "parameters": {"binary_data_size": rows * 8}}
        ]
        assert answer.body[length:] == outputs["y"].tobytes()


def test_it_forgets_before_it_grows() -> None:
    memory = HeadMemory()
    for number in range(10_000):
        memory.keep(b"%d" % number, TWO, V2Head(()))
        assert len(memory._heads) <= 256
    memory.keep(b"x" * 4096, TWO, V2Head(()))
    assert memory.find(b"x" * 4096, TWO) is None
    assert memory.find(b"9999", TWO) is not None
