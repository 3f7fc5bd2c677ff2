"""Slow clients over TLS: cut like all others, those that never finish their handshake too."""

import ssl
from pathlib import Path

import pytest

from tests.conformance.conftest import Servers
from tests.conformance.raw import TIMEOUT_SECONDS, Answer, Connection
from tests.conformance.servers import Server
from tests.serving import certificates

LIMITS = '{"head_seconds": 0.4, "body_seconds": 0.4}'
HEAD = b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


class TlsConnection(Connection):
    """One connection over TLS."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        super().__init__(server)
        self._received.close()
        self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._received = self._socket.makefile("rb")


@pytest.fixture
def secure(
    front_end: str, servers: Servers, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, ssl.SSLContext]:
    if front_end == "url":
        pytest.skip("starts servers of its own")
    folder = servers.notes.setdefault(f"tls, {front_end}", tmp_path_factory.mktemp("tls"))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        certificates.write(folder)
    flags = ["--repository", str(repository), "--frontend", front_end, "--limits", LIMITS]
    flags += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    server = servers.get(f"tls, {front_end}", *flags, program=("-m", "tests.conformance.lowered"))
    return server, certificates.client(certificate)


def test_a_handshake_that_never_comes_is_cut(secure: tuple[Server, ssl.SSLContext]) -> None:
    with Connection(secure[0]) as connection:
        assert connection.ended()  # well before TIMEOUT_SECONDS, and Python's own deadline of 60
    assert TIMEOUT_SECONDS < 60


@pytest.mark.parametrize("sent", [b"", b"POST /v2", HEAD[:-2], HEAD, HEAD + b"{"])
def test_a_slow_request_is_told_408_and_cut(secure: tuple[Server, ssl.SSLContext], sent: bytes) -> None:
    server, context = secure
    with TlsConnection(server, context) as connection:
        connection.send(sent)
        answer: Answer = connection.answer()
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert connection.ended()
