"""Every limit on a request's size, at its edge and one past it, and before anything is held that it forbids."""

import time
from collections.abc import Iterator

import pytest

from tests.conformance import hostile_coding
from tests.conformance.cases import body, dump, infer
from tests.conformance.raw import Connection, ask, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_error, assert_honest

# The defaults, as serving/limits.py and the documentation have them. A server with others fails here, as it should.
BODY_BYTES = 32 * 1024 * 1024
HEADER_COUNT = 100
HEADER_BYTES = 32 * 1024
URL_BYTES = 8 * 1024

MIB = 1024 * 1024
_PATH = infer("identity_fp32")
_BODY = dump(body())


def _headers(count: int, size: int) -> dict[str, str]:
    """Return so many headers of so many bytes together, names and values, for a request that adds one Host."""
    names = [f"x-{number}" for number in range(count - 1)]
    used = len("hostlocalhost") + sum(map(len, names))
    share, rest = divmod(size - used, len(names))
    return {name: "a" * (share + (rest if number == 0 else 0)) for number, name in enumerate(names)}


@pytest.mark.parametrize(("count", "size"), [(HEADER_COUNT, 2000), (2, HEADER_BYTES), (HEADER_COUNT, HEADER_BYTES)])
def test_as_many_headers_as_there_may_be(server: Server, count: int, size: int) -> None:
    assert ask(server, "GET", "/v2/health/live", headers=_headers(count, size)).status == 200


@pytest.mark.parametrize(
    ("count", "size"),
    [(HEADER_COUNT + 1, 2000), (2, HEADER_BYTES + 1), (HEADER_COUNT, HEADER_BYTES + 1), (20_000, MIB), (2, MIB)],
)
def test_a_header_or_a_byte_more(server: Server, count: int, size: int) -> None:
    with Connection(server) as connection:
        connection.send_while_taken(request("GET", "/v2/health/live", headers=_headers(count, size)))
        assert_error(connection.answer(), 431, code="headers_too_large", field="headers")
        assert connection.rest() == b""


def test_headers_without_end(own_server: Server) -> None:
    own_server.forget_memory()
    before = own_server.memory_bytes()
    with Connection(own_server) as connection:
        connection.send(b"GET /v2 HTTP/1.1\r\nHost: a\r\nX-A: ")
        connection.send_while_taken(b"a" * (64 * MIB))
        assert_error(connection.answer(), 431, code="headers_too_large", field="headers")
    assert own_server.memory_bytes() - before < 8 * MIB


def test_the_longest_url(server: Server) -> None:
    target = "/v2/health/live?" + "a" * (URL_BYTES - len("/v2/health/live?"))
    assert ask(server, "GET", target).status == 200
    assert ask(server, "GET", "/" + "a" * (URL_BYTES - 1)).status == 404


@pytest.mark.parametrize("length", [URL_BYTES + 1, MIB])
def test_a_url_that_is_too_long(server: Server, length: int) -> None:
    with Connection(server) as connection:
        connection.send_while_taken(request("GET", "/v2/health/live?".ljust(length, "a")))
        assert_error(connection.answer(), 414, code="uri_too_long", field="url")
        assert connection.rest() == b""


def _chunks(data: bytes, size: int = MIB) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _head(*headers: bytes) -> bytes:
    return b"\r\n".join([b"POST " + _PATH.encode() + b" HTTP/1.1", b"Host: a", *headers, b"", b""])


@pytest.mark.parametrize("chunked", [False, True])
def test_the_largest_body(zoo_server: Server, chunked: bool) -> None:
    data = _BODY.ljust(BODY_BYTES)  # JSON may be followed by blanks
    with Connection(zoo_server) as connection:
        if chunked:
            connection.send(_head(b"Transfer-Encoding: chunked") + b"".join(_chunks(data)))
        else:
            connection.send(_head(b"Content-Length: %d" % len(data)) + data)
        assert connection.answer().json()["outputs"][0]["data"] == [1.5, 2.5, 3.5]
        assert_honest(zoo_server, connection)


@pytest.mark.parametrize("size", [BODY_BYTES + 1, 34 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", [_PATH, "/predict/toy", "/nothing/here"])
def test_a_body_that_is_too_large_is_refused_and_the_client_sees_it(
    zoo_server: Server, chunked: bool, size: int, path: str
) -> None:
    data = bytes(size)
    with Connection(zoo_server) as connection:
        # A client that sends all before it reads, as most do: a reset would cost it the answer.
        if chunked:
            connection.send_while_taken(_head(b"Transfer-Encoding: chunked").replace(_PATH.encode(), path.encode()))
            for piece in _chunks(data):
                connection.send_while_taken(piece)
        else:
            connection.send_while_taken(_head(b"Content-Length: %d" % size).replace(_PATH.encode(), path.encode()) + data)
        answer = connection.answer()
        assert_error(answer, 413, code="body_too_large", field="body")
        assert answer.closes
        assert connection.rest() == b""
    assert_honest(zoo_server)


@pytest.mark.parametrize("length", [BODY_BYTES + 1, 10**12, 2**63, 2**64 - 1])
def test_a_body_that_is_only_told_of_is_refused_at_once(zoo_server: Server, length: int) -> None:
    best = min(_seconds_to_refuse(zoo_server, length) for _ in range(3))
    assert best < 0.05


def _seconds_to_refuse(server: Server, length: int) -> float:
    with Connection(server) as connection:
        started = time.monotonic()
        connection.send(_head(b"Content-Length: %d" % length))
        assert_error(connection.answer(), 413, code="body_too_large", field="body")
        return time.monotonic() - started


def test_chunks_and_trailers_without_end(own_server: Server) -> None:
    own_server.forget_memory()
    before = own_server.memory_bytes()
    for endless in (b"1;a=", b"%x\r\n%b\r\n0\r\nX-A: " % (len(_BODY), _BODY), b"0\r\nX-A: "):
        with Connection(own_server) as connection:
            connection.send(_head(b"Transfer-Encoding: chunked") + endless)
            connection.send_while_taken(b"a" * (16 * MIB))
            assert_error(connection.answer(), 431, code="headers_too_large")
            assert connection.rest() == b""
    assert own_server.memory_bytes() - before < 8 * MIB


BOMBS = {
    "zeros": hostile_coding.zeros(256),
    "members": hostile_coding.members(BODY_BYTES),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_body_that_is_large_inside(zoo_server: Server, bomb: str) -> None:
    started = time.monotonic()
    answer = ask(zoo_server, "POST", _PATH, BOMBS[bomb], {"Content-Encoding": "gzip"})
    assert answer.status in (400, 413)
    assert_error(answer, answer.status)
    assert time.monotonic() - started < 2.0
    assert_honest(zoo_server)


def test_a_bomb_takes_no_memory(own_server: Server) -> None:
    own_server.forget_memory()
    before = own_server.memory_bytes()
    for _ in range(4):
        answer = ask(own_server, "POST", _PATH, BOMBS["zeros"], {"Content-Encoding": "gzip"})
        assert_error(answer, 413, code="body_too_large", field="body")
    assert own_server.memory_bytes() - before < 64 * MIB


def test_a_billion_rows_cost_nothing(zoo_server: Server) -> None:
    rows = dump(body(inputs=[{"name": "x", "shape": [10**9, 10**9], "datatype": "FP32", "data": [1]}]))
    started = time.monotonic()
    assert_error(ask(zoo_server, "POST", _PATH, rows), 400, code="invalid_input", field="x.shape")
    assert time.monotonic() - started < 0.05 or zoo_server.pid is None
