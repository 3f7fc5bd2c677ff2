"""Clients that are slow, silent, or do not read: cut at their deadline, and nobody else notices.

The deadlines are lowered for this: 10, 30 and 75 seconds are nothing that a test should wait for.
"""

import json
import time
from pathlib import Path

import pytest

from tests.conformance.cases import infer
from tests.conformance.conftest import Servers
from tests.conformance.raw import Connection, ask, infer_body, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import HONEST, HONEST_BODY, assert_error, assert_honest

HEAD_SECONDS = 0.4
BODY_SECONDS = 0.5
IDLE_SECONDS = 0.6
WRITE_SECONDS = 0.5
#: How much later than its deadline a client may be cut on a machine that does other things too.
_LATE_SECONDS = 2.0

_LIMITS = {
    "head_seconds": HEAD_SECONDS,
    "body_seconds": BODY_SECONDS,
    "idle_seconds": IDLE_SECONDS,
    "write_seconds": WRITE_SECONDS,
}
_HEAD = request("POST", HONEST, b"", {"Content-Length": str(len(HONEST_BODY))})


@pytest.fixture
def slow_server(pytestconfig: pytest.Config, front_end: str, servers: Servers, repository: Path) -> Server:
    """A server whose deadlines are short."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("needs short deadlines")
    return servers.lowered("slow", front_end, repository, _LIMITS)


def _assert_cut(connection: Connection, started: float, after: float) -> None:
    assert_error(connection.answer(), 408, code="request_timeout")
    taken = time.monotonic() - started
    assert after * 0.9 <= taken <= after + _LATE_SECONDS
    assert connection.rest() == b""


def test_one_that_says_nothing(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        _assert_cut(connection, time.monotonic(), HEAD_SECONDS)


@pytest.mark.parametrize("nothing", [b"\r\n", b"\r", b"\n", b"\r\n\r\n"])
def test_one_that_sends_empty_lines_only(slow_server: Server, nothing: bytes) -> None:
    """The parser passes over them; they are no request, and stop no clock."""
    with Connection(slow_server) as connection:
        started = time.monotonic()
        connection.send(nothing)
        _assert_cut(connection, started, HEAD_SECONDS)


def test_one_that_sends_an_empty_line_after_an_answer(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        assert_honest(slow_server, connection)
        started = time.monotonic()
        connection.send(b"\r\n")
        assert connection.rest() == b""
        assert IDLE_SECONDS * 0.9 <= time.monotonic() - started <= IDLE_SECONDS + _LATE_SECONDS


def test_one_whose_headers_drip(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        started = time.monotonic()
        connection.drip(request("GET", "/v2", headers={"X-A": "a" * 1000}), every_seconds=0.02)
        _assert_cut(connection, started, HEAD_SECONDS)


@pytest.mark.parametrize("head", [_HEAD, _HEAD.replace(b"Content-Length: 82", b"Transfer-Encoding: chunked")])
def test_one_whose_body_drips(slow_server: Server, head: bytes) -> None:
    with Connection(slow_server) as connection:
        started = time.monotonic()
        connection.send(head)
        connection.drip(b"1\r\n{\r\n" * 1000 if b"chunked" in head else b" " * 1000, every_seconds=0.02)
        _assert_cut(connection, started, BODY_SECONDS)


def test_one_whose_body_stops(slow_server: Server) -> None:
    before = _ended(slow_server, 'reason="request_timeout"')
    with Connection(slow_server) as connection:
        started = time.monotonic()
        connection.send(_HEAD + HONEST_BODY[:-1])
        _assert_cut(connection, started, BODY_SECONDS)
    assert _ended(slow_server, 'reason="request_timeout"') == before + 1


def test_one_that_leaves_before_its_body_is_whole_is_counted_so(slow_server: Server) -> None:
    before = _ended(slow_server, 'outcome="cancelled"')
    with Connection(slow_server) as connection:
        connection.send(_HEAD + HONEST_BODY[:-1])
    end = time.monotonic() + _LATE_SECONDS
    while (now := _ended(slow_server, 'outcome="cancelled"')) == before and time.monotonic() < end:
        pass
    assert now == before + 1


def test_one_whose_trailers_drip(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        started = time.monotonic()
        connection.send(request("POST", HONEST, headers={"Transfer-Encoding": "chunked"}) + b"1\r\n{\r\n0\r\n")
        connection.drip(b"X-A: 1\r\n" * 1000, every_seconds=0.02)
        _assert_cut(connection, started, BODY_SECONDS)


def test_a_later_request_has_its_own_time(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        assert_honest(slow_server, connection)
        # More than half of the time for a head passes in silence, which counts for nothing.
        assert not connection.speaks_within(HEAD_SECONDS * 0.6)
        started = time.monotonic()
        connection.drip(request("GET", "/v2", headers={"X-A": "a" * 1000}), every_seconds=0.02)
        _assert_cut(connection, started, HEAD_SECONDS)


def test_one_that_is_idle_between_two_requests(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        assert_honest(slow_server, connection)
        started = time.monotonic()
        assert connection.rest() == b""
        assert IDLE_SECONDS * 0.9 <= time.monotonic() - started <= IDLE_SECONDS + _LATE_SECONDS


def test_one_that_is_steady_is_not_cut(slow_server: Server) -> None:
    with Connection(slow_server) as connection:
        for _ in range(4):
            assert not connection.speaks_within(HEAD_SECONDS * 0.5)
            assert_honest(slow_server, connection)


def test_an_answer_that_takes_long_cuts_nobody(slow_server: Server) -> None:
    """A request that waits behind a slow one is read only then, and that is not its client's fault."""
    slow = request("POST", infer("patient"), infer_body("x", "FP32", [1, 1], [1]))
    long = request("POST", infer("identity_fp32"), infer_body("x", "FP32", [1, 100_000], [0] * 100_000))
    with Connection(slow_server) as connection:
        connection.send_while_taken(slow * 3 + long + request("POST", HONEST, HONEST_BODY))
        for _ in range(4):
            answer = connection.answer()
            assert answer.status == 200, answer.body
        assert connection.answer().json()["outputs"][0]["data"] == [1, -2, 2**62, 4]


def test_one_that_does_not_read(slow_server: Server) -> None:
    size = 200_000
    large = request("POST", infer("identity_fp32"), infer_body("x", "FP32", [1, size], [0.5] * size))
    with Connection(slow_server, receive_bytes=4096) as connection:
        connection.send_while_taken(large * 8)
        assert_honest(slow_server)
        # Its connection is reset, and most of the answer thrown away, whether it reads now or never.
        assert not _still_open(connection, WRITE_SECONDS + _LATE_SECONDS)
        assert connection.drain() < 8 * size * 4
    assert_honest(slow_server)


def _still_open(connection: Connection, seconds: float) -> bool:
    """Tell whether the server still takes what is sent, after so many seconds at the latest."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if connection.was_reset_within(0.05):
            return False
    return True


def test_many_slow_ones_stop_nobody(slow_server: Server) -> None:
    slow = [Connection(slow_server) for _ in range(200)]
    try:
        started = time.monotonic()
        for number, connection in enumerate(slow):
            connection.send_while_taken((b"GET /v2", _HEAD, b"POST ", _HEAD + b"{")[number % 4])
        times = []
        while time.monotonic() < started + BODY_SECONDS * 0.8:
            asked = time.monotonic()
            assert_honest(slow_server)
            times.append(time.monotonic() - asked)
        assert sorted(times)[len(times) // 2] < 0.1
        for connection in slow:
            assert_error(connection.answer(), 408, code="request_timeout")
            assert connection.rest() == b""
        assert time.monotonic() - started < BODY_SECONDS + _LATE_SECONDS
    finally:
        for connection in slow:
            connection.close()
    assert_honest(slow_server)


def test_one_that_leaves_in_the_middle(slow_server: Server) -> None:
    for data in (b"", b"GE", b"GET /v2 HTTP/1.1\r\n", _HEAD, _HEAD + b"{", request("POST", infer("patient"), b"{")):
        with Connection(slow_server) as connection:
            connection.send(data)
    assert_honest(slow_server)


def test_one_that_leaves_before_its_answer_is_counted_so(slow_server: Server) -> None:
    body = json.loads(infer_body("x", "FP32", [1, 1], [1]))
    before = _cancelled(slow_server)
    with Connection(slow_server) as connection:
        connection.send(request("POST", infer("patient"), json.dumps(body).encode()))
        # The answer takes 0.3 seconds; what is asked for on another connection tells that it has been read.
        assert_honest(slow_server)
    end = time.monotonic() + _LATE_SECONDS
    while _cancelled(slow_server) == before and time.monotonic() < end:
        pass
    assert _cancelled(slow_server) == before + 1


def _ended(server: Server, label: str) -> float:
    """Return how many requests, for whichever model, have ended in this way."""
    lines = ask(server, "GET", "/metrics").body.decode().splitlines()
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith("sameway_requests_total") and label in x)


def _cancelled(server: Server) -> float:
    """Return how many requests for `patient` have ended because their client left."""
    lines = ask(server, "GET", "/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith("sameway_requests_total") and 'model="patient"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if 'outcome="cancelled"' in line)
