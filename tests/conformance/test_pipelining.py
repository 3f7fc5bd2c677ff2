"""Requests sent without waiting for answers: each gets its own, in order, and an error comes after what was asked before."""

import json

import pytest

from tests.conformance.cases import infer
from tests.conformance.raw import Connection, infer_body, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_error, assert_honest

_LIVE = request("GET", "/v2/health/live")


def _numbered(number: int, model: str = "identity_fp32") -> bytes:
    """Return a request whose answer tells its number."""
    body = json.loads(infer_body("x", "FP32", [1, 1], [number])) | {"id": f"request {number}"}
    return request("POST", infer(model), json.dumps(body).encode())


def _assert_numbered(connection: Connection, number: int) -> None:
    answer = connection.answer()
    assert answer.status == 200, answer.body
    said = answer.json()
    assert (said["id"], said["outputs"][0]["data"]) == (f"request {number}", [float(number)])


def test_answers_come_in_the_order_of_requests(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        connection.send(b"".join(map(_numbered, range(300))))
        for number in range(300):
            _assert_numbered(connection, number)
        assert_honest(zoo_server, connection)


def test_a_quick_answer_waits_for_a_slow_one(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        connection.send(
            _numbered(1, "patient") + _LIVE + request("GET", "/nothing") + _numbered(2) + _numbered(3, "patient")
        )
        _assert_numbered(connection, 1)
        assert connection.answer().json() == {"live": True}
        assert_error(connection.answer(), 404, code="not_found")
        _assert_numbered(connection, 2)
        _assert_numbered(connection, 3)
        assert_honest(zoo_server, connection)


BROKEN = {
    "bytes that are no request": (b"\x16\x03\x01\r\n\r\n", 400),
    "two lengths": (b"POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "no host": (b"GET /v2 HTTP/1.1\r\n\r\n", 400),
    "a header too large": (request("GET", "/v2", headers={"X-A": "a" * 40_000}), 431),
    "a url too long": (request("GET", "/" + "a" * 9_000), 414),
    "a body too large": (request("POST", infer("identity_fp32"), b"", {"Content-Length": str(10**12)}), 413),
    "a bad chunk": (request("POST", infer("identity_fp32"), headers={"Transfer-Encoding": "chunked"}) + b"g\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), [pytest.param(*values, id=name) for name, values in BROKEN.items()])
@pytest.mark.parametrize("model", ["patient", "identity_fp32"])
def test_an_error_waits_for_the_answers_before_it(zoo_server: Server, data: bytes, status: int, model: str) -> None:
    with Connection(zoo_server) as connection:
        connection.send_while_taken(_numbered(1, model) + _numbered(2, model) + _LIVE + data)
        _assert_numbered(connection, 1)
        _assert_numbered(connection, 2)
        assert connection.answer().json() == {"live": True}
        answer = connection.answer()
        assert_error(answer, status)
        assert answer.closes
        assert connection.rest() == b""


def test_an_error_in_a_whole_request_ends_nothing(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        wrong = request("POST", infer("identity_fp32"), b"{")
        connection.send(_numbered(1, "patient") + wrong + _numbered(2) + wrong + _numbered(3))
        _assert_numbered(connection, 1)
        assert_error(connection.answer(), 400)
        _assert_numbered(connection, 2)
        assert_error(connection.answer(), 400)
        _assert_numbered(connection, 3)


def test_nothing_follows_a_request_that_closes(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        closing = request("GET", "/v2/health/live", headers={"Connection": "close"})
        connection.send(_numbered(1, "patient") + closing + _numbered(2))
        _assert_numbered(connection, 1)
        answer = connection.answer()
        assert answer.status == 200
        assert answer.closes
        assert connection.rest() == b""


def test_a_client_that_sends_without_end_is_answered_one_after_the_other(own_server: Server) -> None:
    """A server that took all it is sent before it answered would hold all of it."""
    own_server.forget_memory()
    before = own_server.memory_bytes()
    with Connection(own_server) as connection:
        connection.send(_numbered(1, "patient") + _LIVE * 1_000)
        _assert_numbered(connection, 1)
        for _ in range(1_000):
            assert connection.answer().status == 200
    assert own_server.memory_bytes() - before < 16 * 1024 * 1024
