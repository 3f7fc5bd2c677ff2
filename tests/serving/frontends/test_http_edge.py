"""The HTTP edge, over real sockets: framing, pipelining, limits, and what nobody but a stranger sends."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import toys
from tests.serving.desk import infer_body
from tests.serving.live import Answer, LiveServer, request, serving

LIVE = request("GET", "/v2/health/live")
INDEX = "/v2/repository/index"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("edge")
    toys.publish(root, "toy")
    toys.publish(root, "slow")
    (root / "slow" / "config.toml").write_text("queue_delay_seconds = 10\ntimeout_seconds = 30\nqueue_rows = 100")
    with serving(root) as live:
        yield live


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["code"] == code
    assert answer.json()["error"]


def test_a_connection_is_kept_for_the_next_request(server: LiveServer) -> None:
    with server.connect() as connection:
        for _ in range(20):
            assert connection.send(LIVE).answer().body == b'{"live":true}'


def test_pipelined_requests_are_answered_in_their_order(server: LiveServer) -> None:
    pixels = toys.images(20)
    bodies = [
        request("POST", "/v2/models/toy/infer", infer_body(row[np.newaxis], id=str(n))) for n, row in enumerate(pixels)
    ]
    with server.connect() as connection:
        connection.send(b"".join(bodies))
        answers = [connection.answer().json() for _ in bodies]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(20)]
    expected = toys.reference(pixels)["class"]
    assert [answer["outputs"][1]["data"][0] for answer in answers] == expected.tolist()


def test_a_request_may_come_byte_by_byte_or_in_chunks(server: LiveServer) -> None:
    body = b'{"ready":true}'
    with server.connect() as connection:
        for byte in request("POST", INDEX, body):
            connection.send(bytes([byte]))
        whole = connection.answer()
        connection.send(b"POST /v2/repository/index HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.send(b'3\r\n{"r\r\n', b'B;ext=1\r\neady":true}\r\n', b"0\r\ntrailer: x\r\n\r\n")
        chunked = connection.answer()
    assert whole.status == chunked.status == 200
    assert whole.body == chunked.body


GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "zeros": b"\0" * 100,
    "a line": b"hello world\r\n\r\n",
    "an unknown method": b"FETCH / HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path without a slash": b"GET v2 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path that is no ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nhost\r\n\r\n",
    "a blank in a header's name": b"GET / HTTP/1.1\r\nho st: x\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
    "a zero in a header": b"GET / HTTP/1.1\r\na: \0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "a negative length": b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "a length that is no number": b"POST / HTTP/1.1\r\ncontent-length: 1e3\r\n\r\n",
    "a length beyond 64 bits": b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + LIVE,
    "chunks in another coding": b"POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
    "a chunk size that is no number": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size beyond 64 bits": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n",
    "a chunk longer than its size": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_not_http_is_answered_400_and_the_connection_ends(server: LiveServer, case: str) -> None:
    with server.connect() as connection:
        answer = connection.send(GARBAGE[case]).answer()
        refused(answer, 400, "malformed_request")
        assert answer.headers["connection"] == "close"
        assert connection.closed()


def test_requests_before_the_garbage_are_answered_first(server: LiveServer) -> None:
    right = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))
    with server.connect() as connection:
        connection.send(LIVE + right + b"garbage\r\n\r\n" + LIVE)
        assert [connection.answer().status for _ in range(2)] == [200, 200]
        refused(connection.answer(), 400, "malformed_request")
        assert connection.closed()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_wish_for_another_protocol_is_passed_over_and_the_body_is_read(server: LiveServer, protocol: str) -> None:
    """As Java's HttpClient sends it by default. The body must be neither lost nor taken for the next request."""
    wish = ("connection: Upgrade, HTTP2-Settings", f"upgrade: {protocol}", "http2-settings: AAEAAEAAAAIAAAABAAMAAABk")
    asked = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)), *wish)
    head, _, body = asked.partition(b"\r\n\r\n")
    with server.connect() as connection:
        for parts in ([asked], [head + b"\r\n\r\n", body], [asked[:40], asked[40:]]):
            answer = connection.send(*parts).answer()
            assert (answer.status, len(answer.json()["outputs"])) == (200, 2)
        hidden = request("GET", "/v2/health/live", LIVE, *wish)
        connection.send(hidden + request("GET", "/v2"))
        assert [b"live" in connection.answer().body, b"sameway" in connection.answer().body] == [True, True]


def test_a_client_that_pipelines_without_end_cannot_fill_the_memory(server: LiveServer) -> None:
    pages = Path(f"/proc/{server.process.pid}/statm")

    def resident() -> int:
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    with server.connect() as connection:
        threading.Thread(target=_read_all, args=(connection.socket,), daemon=True).start()
        connection.socket.settimeout(0.2)
        deadline = time.monotonic() + 1.5
        with contextlib.suppress(TimeoutError):  # the server reads no further: as it should
            while time.monotonic() < deadline:
                connection.send(LIVE * 5_000)
        grown = resident() - before
        connection.socket.shutdown(socket.SHUT_RDWR)
    assert grown < 40 * 2**20
    assert server.ask("GET", "/v2/health/live").status == 200


def _read_all(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connected.recv(1 << 20):
            pass


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v2/models/toy/infer", "/predict/toy", INDEX, "/nowhere"])
def test_a_body_over_the_limit_gets_its_413_while_the_client_still_sends(
    server: LiveServer, path: str, chunked: bool
) -> None:
    block = b"x" * 65_536
    blocks = 34 * 1024 * 1024 // len(block)
    length = "transfer-encoding: chunked" if chunked else f"content-length: {blocks * len(block)}"
    with server.connect() as connection:
        connection.send(f"POST {path} HTTP/1.1\r\nhost: test\r\n{length}\r\n\r\n".encode())
        try:
            for _ in range(blocks):
                connection.send(b"10000\r\n" + block + b"\r\n" if chunked else block)
            if chunked:
                connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pytest.fail("the connection was reset while the client sent: it may never see the answer")
        answer = connection.answer()
        refused(answer, 413, "body_too_large")
        assert answer.headers["connection"] == "close"
        assert connection.closed()


def test_a_body_of_a_terabyte_is_refused_before_it_is_sent(server: LiveServer) -> None:
    with server.connect() as connection:
        connection.send(
            b"POST /predict/toy HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1099511627776\r\n\r\n"
        )
        refused(connection.answer(), 413, "body_too_large")


def test_a_client_that_waits_for_100_continue_gets_it(server: LiveServer) -> None:
    head, _, body = request("POST", INDEX, b'{"ready":true}', "expect: 100-continue").partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 100 Continue")
        assert connection.send(body).answer().status == 200


@pytest.mark.parametrize("padding", [0, 100_000, 1_000_000])
def test_a_client_that_leaves_is_counted_and_its_entry_is_skipped(server: LiveServer, padding: int) -> None:
    """With a large body, too: uvicorn stops reading while one waits, and then would not notice."""

    def cancelled() -> float:
        return server.value("sameway_requests_total", model="slow", outcome="cancelled")

    before = cancelled()
    with server.connect() as connection:
        connection.send(request("POST", "/v2/models/slow/infer", infer_body(toys.images(2)) + b" " * padding))
        server.until(lambda: server.value("sameway_queue_rows", model="slow") == 2, "in the queue")
        assert server.value("sameway_in_flight") == 1
    server.until(lambda: cancelled() == before + 1, "counted")
    assert server.value("sameway_queue_rows", model="slow") == 0
    assert server.value("sameway_in_flight") == 0
    assert server.value("sameway_batch_rows_sum", model="slow") == 0


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(server: LiveServer) -> None:
    for body in (b"", b"x" * 200_000):
        with server.connect() as connection:
            connection.send(b"POST /v2/models/toy/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n" + body)
    assert server.value("sameway_in_flight") == 0
    assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200


@pytest.mark.parametrize("target", ["*", "http://elsewhere/nowhere", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/%ff", "//x/v2"])
def test_unusual_targets_get_our_own_404(server: LiveServer, target: str) -> None:
    with server.connect() as connection:
        refused(connection.send(request("OPTIONS", target)).answer(), 404, "not_found")


def test_the_log_holds_no_line_for_strangers(server: LiveServer) -> None:
    before = len(server.log)
    for data in (*GARBAGE.values(), request("GET", "/nowhere")):
        with server.connect() as connection:
            connection.send(data).answer()
    assert server.ask("GET", "/v2/health/live").status == 200
    assert server.log[before:] == []


def test_what_is_refused_before_there_is_a_request_has_an_id_too(server: LiveServer) -> None:
    named = ("x-request-id: mine",)
    cases = [
        (request("GET", "/v2", b"", *named, "transfer-encoding: gzip"), "mine"),
        (request("GET", "/v2", b"", *named, "x: " + "a" * 40_000), "mine"),
        (request("GET", "/v2", b"", *named, "x-request-id: other", "transfer-encoding: gzip"), None),
        (request("GET", "/v2", b"", "transfer-encoding: gzip"), None),
        (b"junk\r\n\r\n", None),
    ]
    made = set()
    for sent, expected in cases:
        with server.connect() as connection:
            found = connection.send(sent).answer().headers["x-request-id"]
        assert found == (expected or found)
        if expected is None:
            made.add(found)
    assert len(made) == 3
    assert not made & {"mine", "other", ""}


def test_a_refusal_does_not_bear_the_id_of_the_request_before(server: LiveServer) -> None:
    with server.connect() as connection:
        connection.send(request("GET", "/v2", b"", "x-request-id: first"))
        assert connection.answer().headers["x-request-id"] == "first"
        refusal = connection.send(b"junk\r\n\r\n").answer()
    assert refusal.status == 400
    assert refusal.headers["x-request-id"] != "first"
