"""What all clients together may hold: connections, bytes of bodies, threads. One more is told to come back.

The limits are lowered for this.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.cases import infer
from tests.conformance.conftest import Servers
from tests.conformance.raw import Answer, Connection, ConnectionEnded, infer_body, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import HONEST, HONEST_BODY, assert_error, assert_honest

CONNECTIONS = 8
BODIES_BYTES = 1024 * 1024
THREADS = 2
WAITING = 1

_LIMITS = {"bodies_bytes": BODIES_BYTES, "wsgi_threads": THREADS, "wsgi_waiting": WAITING}
_PATIENT = request("POST", infer("patient"), infer_body("x", "FP32", [1, 1], [1]))


@pytest.fixture
def small_server(pytestconfig: pytest.Config, front_end: str, servers: Servers, repository: Path) -> Server:
    """A server that holds little."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("needs low limits")
    return servers.lowered("small", front_end, repository, _LIMITS)


@pytest.fixture
def lonely_server(pytestconfig: pytest.Config, front_end: str, servers: Servers, repository: Path) -> Server:
    """A server that has few connections."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("needs low limits")
    return servers.lowered("lonely", front_end, repository, {"connections": CONNECTIONS})


def _assert_busy(answer: Answer) -> None:
    assert_error(answer, 503, code="server_busy")
    assert int(answer.headers["retry-after"]) >= 1


def _until(done: Callable[[], bool]) -> None:
    """Ask again until the server has noticed what its clients did."""
    assert any(done() for _ in range(1000))


def test_a_connection_too_many(lonely_server: Server) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(Connection(lonely_server)) for _ in range(CONNECTIONS)]
        for connection in held:
            assert_honest(lonely_server, connection)
        for _ in range(3):
            with Connection(lonely_server) as one_more:
                one_more.send_while_taken(request("POST", HONEST, HONEST_BODY))
                answer = one_more.answer()
                _assert_busy(answer)
                assert answer.closes
                assert one_more.rest() == b""
        # Those who are there are served on.
        for connection in held:
            assert_honest(lonely_server, connection)
    _until(lambda: _is_served(lonely_server))


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/metrics"])
def test_who_looks_after_the_server_is_answered_all_the_same(lonely_server: Server, path: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(Connection(lonely_server)) for _ in range(CONNECTIONS)]
        for connection in held:
            assert_honest(lonely_server, connection)
        with Connection(lonely_server) as probe:
            probe.send(request("GET", path) + request("POST", HONEST, HONEST_BODY))
            answer = probe.answer()
            assert (answer.status, answer.closes) == (200, True)
            assert probe.rest() == b"", "one answer, whatever else is asked"
        with Connection(lonely_server) as filtered:
            filtered.send(request("GET", path + "?name[]=one"))
            assert filtered.answer().status == 200
        with Connection(lonely_server) as silent:
            _assert_busy(silent.answer())
        for body in ("content-length: 10", "transfer-encoding: chunked"):
            with Connection(lonely_server) as waiting:
                waiting.send(f"GET {path} HTTP/1.1\r\nhost: test\r\n{body}\r\n\r\n".encode())
                _assert_busy(waiting.answer())
    _until(lambda: _is_served(lonely_server))


def test_twice_as_many_connections_are_not_even_told(lonely_server: Server) -> None:
    with ExitStack() as stack:
        all_of_them = [stack.enter_context(Connection(lonely_server)) for _ in range(CONNECTIONS * 4)]
        endings = [_ending(connection) for connection in all_of_them[CONNECTIONS:]]
        assert set(endings) <= {503, None}
        assert None in endings
    _until(lambda: _is_served(lonely_server))


def _ending(connection: Connection) -> int | None:
    """Return the status with which a connection was refused, None where it was without a word."""
    try:
        return connection.answer().status
    except (ConnectionEnded, ConnectionResetError):
        return None


def _is_served(server: Server) -> bool:
    with Connection(server) as connection:
        try:
            connection.send(request("GET", "/v2/health/live"))
            return connection.answer().status == 200
        except (ConnectionEnded, ConnectionResetError, BrokenPipeError):
            return False


def test_bodies_that_are_too_large_together(small_server: Server) -> None:
    size = BODIES_BYTES * 2 // 3
    head = request("POST", HONEST, b"", {"Content-Length": str(size)})
    with Connection(small_server) as first:
        first.send(head + bytes(size - 1))
        with Connection(small_server) as second:
            # Until the first body has arrived there may be room for the second.
            second.send_while_taken(head + bytes(size - 1))
            with Connection(small_server) as third:
                third.send_while_taken(head + bytes(size - 1))
                speakers = [connection for connection in (second, third, first) if connection.speaks_within(1.0)]
                assert len(speakers) == 2
                for speaker in speakers:
                    _assert_busy(speaker.answer())
                    assert speaker.rest() == b""
        assert_honest(small_server)
    _until(lambda: _takes(small_server, head + HONEST_BODY.ljust(size)))


def _takes(server: Server, data: bytes) -> bool:
    with Connection(server) as connection:
        connection.send_while_taken(data)
        return connection.answer().status == 200


def test_requests_for_threads_that_are_not_there(small_server: Server, front_end: str) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(small_server)) for _ in range(THREADS + WAITING + 3)]
        for connection in crowd:
            connection.send(_PATIENT)
        answers = [connection.answer() for connection in crowd]
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        assert_error(answer, 429, code="overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert not answer.closes
    # FastAPI waits without threads.
    assert len(refused) == (3 if front_end == "flask" else 0)
    assert_honest(small_server)
