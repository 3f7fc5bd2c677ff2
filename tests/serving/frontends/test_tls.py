"""HTTPS on real servers: the same answers and the same edge as without, and nothing older than TLS 1.2."""

import contextlib
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import cli
from serving.frontends.tls import TlsError, context_of
from tests import toys
from tests.serving import certificates, credentials
from tests.serving.desk import infer_body, png
from tests.serving.live import Connection, LiveServer, request
from tests.serving.sessions import PATIENCE


class TlsConnection(Connection):
    """A connection over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")


class Secure:
    """A server over TLS, and connections to it."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext) -> None:
        self.server, self.context = server, context

    def connect(self) -> TlsConnection:
        return TlsConnection(self.server.port, self.context)

    def status(self, data: bytes) -> int:
        with self.connect() as connection:
            return connection.send(data).answer().status

    def queued(self) -> float:
        with self.connect() as connection:
            text = connection.send(request("GET", "/metrics")).answer().body.decode()
        line = next(line for line in text.splitlines() if line.startswith('sameway_queue_rows{model="slow"'))
        return float(line.split()[-1])


@pytest.fixture(scope="module", params=["fastapi", "flask"])
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    root = tmp_path_factory.mktemp("tls")
    toys.publish(root, "toy")
    toys.publish(root, "slow")
    (root / "slow" / "config.toml").write_text("queue_delay_seconds = 10\ntimeout_seconds = 60\nqueue_rows = 100")
    certificate, key = certificates.write(tmp_path_factory.mktemp("pem"))
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--frontend", request.param]
    server = LiveServer(root, "--drain-delay-seconds", "0", *flags)
    found = Secure(server, certificates.client(certificate))
    try:
        server.until(lambda: found.status(ready) == 200, "ready")
        yield found
        assert server.stop() == 0
    finally:
        server.kill()


ready = request("GET", "/v2/health/ready")


def test_answers_are_the_reference_s(secure: Secure) -> None:
    pixels = toys.images(5)
    with secure.connect() as connection:
        assert connection.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]
        answer = connection.send(request("POST", "/v2/models/toy/infer", infer_body(pixels))).answer()
        found = np.array(answer.json()["outputs"][0]["data"]).reshape(5, 3)
        np.testing.assert_allclose(found, toys.reference(pixels)["probabilities"], atol=1e-5)
        assert connection.send(request("POST", "/predict/toy", png(pixels[0]))).answer().status == 200


def test_a_large_body_is_refused_in_our_own_words(secure: Secure) -> None:
    with secure.connect() as connection:
        connection.send(b"POST /v2/models/toy/infer HTTP/1.1\r\nhost: test\r\ncontent-length: 999999999999\r\n\r\n")
        answer = connection.answer()
        assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
        assert connection.closed()


def test_a_client_that_leaves_gives_its_place_back(secure: Secure) -> None:
    with secure.connect() as connection:
        connection.send(request("POST", "/v2/models/slow/infer", infer_body(toys.images(1))))
        secure.server.until(lambda: secure.queued() == 1, "waiting")
    secure.server.until(lambda: secure.queued() == 0, "left")


def test_plain_http_gets_no_answer(secure: Secure) -> None:
    with secure.server.connect() as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.send(ready)
        assert b"HTTP/1.1" not in connection.socket.recv(4096)
    assert secure.status(ready) == 200


def test_nothing_older_than_tls_1_2_is_spoken(secure: Secure) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        secure_enough, old = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        secure_enough.maximum_version = ssl.TLSVersion.TLSv1_2
    for context in (old, secure_enough):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context = secure_enough
    with TlsConnection(secure.server.port, context) as connection:
        assert connection.send(ready).answer().status == 200
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", secure.server.port), PATIENCE) as raw:  # noqa: PT011
        old.wrap_socket(raw, server_hostname="127.0.0.1")


def test_a_key_with_a_password_is_read(tmp_path: Path) -> None:
    certificate, key = certificates.write(tmp_path, password="open sesame")
    assert context_of(certificate, key, "open sesame").minimum_version == ssl.TLSVersion.TLSv1_2
    for wrong in (None, "", "sesame"):
        with pytest.raises(TlsError, match=r"expected a certificate and its key in PEM"):
            context_of(certificate, key, wrong)


def test_a_file_that_is_none_ends_with_2_and_one_line(
    tmp_path: Path, toy_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = (str(path) for path in certificates.write(tmp_path))
    (tmp_path / "other").mkdir()
    _, other = certificates.write(tmp_path / "other")
    keys = credentials.write(tmp_path)
    for flags, words in (
        (["--tls-certificate", certificate], "tls_certificate and tls_key need each other"),
        (["--tls-certificate", certificate, "--tls-key", str(tmp_path / "nowhere")], "nowhere: No such file"),
        (["--tls-certificate", certificate, "--tls-key", str(other)], "expected a certificate and its key"),
        (["--tls-certificate", key, "--tls-key", key], "expected a certificate and its key"),
        (["--tls-certificate", str(keys), "--tls-key", key], "expected a certificate and its key"),
    ):
        assert cli.main(["serve", "--repository", str(toy_repository), *flags]) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1
        assert words in shown.err
