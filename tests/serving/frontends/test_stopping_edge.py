"""Who asks, or is about to, when the server lets its connections go: over HTTP and HTTPS, on servers of their own."""

import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toys
from tests.serving import certificates
from tests.serving.desk import infer_body
from tests.serving.live import Connection, LiveServer, request, serving
from tests.serving.sessions import PATIENCE

FRONTENDS = ["fastapi", "flask"]
#: A request with a head as it is with a token, which takes more than one packet.
TOKEN = "authorization: Bearer " + "a" * 3000
REQUEST = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)), TOKEN)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    toys.publish(tmp_path / "models", "toy")
    return tmp_path / "models"


def stop(server: LiveServer) -> float:
    """Begin the stop, wait so long that connections have been let go, and return when it began."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # as long as a packet takes that is sent again, and more than it takes until the server looks
    return began


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_head_of_which_a_part_has_come_is_waited_for(root: Path, frontend: str) -> None:
    with serving(root, "--frontend", frontend) as server, server.connect() as new, server.connect() as kept:
        assert kept.send(REQUEST).answer().status == 200
        for connection in (new, kept):
            connection.send(REQUEST[:1400])
        server.until(lambda: server.value("sameway_connections") == 3, "connected")
        stop(server)
        for connection in (new, kept):
            connection.send(REQUEST[1400:])
            assert connection.answer().status == 200
            assert connection.closed()
        assert server.wait() == 0


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("length", [0, 1400, -1])
def test_a_request_that_never_comes_to_its_end_is_told_503_when_the_time_is_over(
    root: Path, tmp_path: Path, frontend: str, length: int
) -> None:
    flags = ("--frontend", frontend, "--drain-seconds", "1")
    log = tmp_path / "access.log"
    with (
        serving(root, *flags, "--access-log", "text", stdout=log) as server,
        server.connect() as connection,
        server.connect() as behind,
    ):
        chunked = b"POST /v2/models/toy/infer HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"
        connection.send(REQUEST[:length] or chunked)
        behind.send(REQUEST + REQUEST[:length])  # a second one on a connection that waited for nothing when it came
        assert behind.answer().status == 200
        began = stop(server)
        for told in (connection, behind) if length else (connection,):
            answer = told.answer()
            assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
            assert told.closed()
        assert server.wait() == 0
        assert time.monotonic() - began < 3
    assert not [line for line in server.log if "level=ERROR" in line]
    if length == -1:
        assert log.read_text().count("503") >= 2, "they are in the access log, as all whose head has come"


@contextlib.contextmanager
def secure(root: Path, *flags: str) -> Iterator[tuple[LiveServer, ssl.SSLContext]]:
    """Run a server of TLS, and return with it what its clients need."""
    certificate, key = certificates.write(root.parent)
    tls = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    server = LiveServer(root, "--drain-delay-seconds", "0", *tls, *flags)
    try:
        server.until(lambda: any("event=loaded" in line for line in server.log), "loaded")
        yield server, certificates.client(certificate)
    finally:
        server.kill()


class _Speaking(Connection):
    """A connection that has shaken hands."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._received = b""


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_client_of_tls_that_is_idle_holds_no_stop_up(root: Path, frontend: str) -> None:
    """As the pool of Python's own client, it does not say that it has heard the end."""
    with (
        secure(root, "--frontend", frontend) as (server, context),
        _Speaking(socket.create_connection(("127.0.0.1", server.port), PATIENCE), context) as idle,
    ):
        assert idle.send(REQUEST).answer().status == 200
        began = stop(server)
        assert server.wait() == 0
        assert time.monotonic() - began < 4, "the drain has 10 seconds"
    assert not [line for line in server.log if "level=ERROR" in line]


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_who_is_shaking_hands_may_end_and_ask(root: Path, frontend: str) -> None:
    with secure(root, "--frontend", frontend) as (server, context):
        plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        time.sleep(0.1)  # it is accepted
        stop(server)
        with _Speaking(plain, context) as late:
            time.sleep(0.2)
            assert late.send(REQUEST).answer().status == 200
        assert server.wait() == 0


def test_who_never_shakes_hands_holds_a_stop_up_for_a_second(root: Path) -> None:
    with secure(root) as (server, _), contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
        began = stop(server)
        assert server.wait() == 0
        assert time.monotonic() - began < 4, "the drain has 10 seconds"


def test_empty_lines_without_end_hold_no_stop_up(root: Path) -> None:
    with serving(root) as server, server.connect() as connection:
        assert connection.send(REQUEST).answer().status == 200
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 8:
                connection.send(b"\r\n" * 1000)
        assert server.wait() == 0
        assert time.monotonic() - began < 4, "the drain has 10 seconds"
