"""`sameway loadtest` against real servers: a right one, a lying one, and none."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from tests import toys
from tests.serving.live import LiveServer, serving


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loadtest")
    toys.publish(root)
    return root


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[LiveServer]:
    with serving(repository) as server:
        yield server.ready()


@pytest.fixture
def liar(server: LiveServer) -> Iterator[str]:
    """A proxy that tells one lie: the label of every tenth picture."""
    asked = 0

    class Lying(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.pass_on(None)

        def do_POST(self) -> None:
            self.pass_on(self.rfile.read(int(self.headers["content-length"])))

        def pass_on(self, body: bytes | None) -> None:
            nonlocal asked
            with urllib.request.urlopen(urllib.request.Request(server.url + self.path, data=body)) as answer:
                data = answer.read()
            if self.path.startswith("/predict"):
                asked += 1
                if asked % 10 == 1:
                    data = json.dumps({**json.loads(data), "label": "dog"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lying)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    thread.join()
    proxy.server_close()


def loadtest(url: str, repository: Path, *words: str) -> int:
    return cli.main(
        ["loadtest", url, "--model", "toy", "--users", "4", "--duration", "1", "--repository", str(repository), *words]
    )


def test_a_server_that_is_right_passes(server: LiveServer, repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert loadtest(server.url, repository) == 0
    out = capfd.readouterr().out
    assert "V2 JSON" in out
    assert "/predict" in out
    assert "answers were right" in out


def test_one_wrong_answer_is_enough_to_fail(liar: str, repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert loadtest(liar, repository) == 1
    out = capfd.readouterr().out
    assert "of them failed" in out
    assert "right" not in out


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:abc", "ftp://127.0.0.1", "127.0.0.1:8000"])
def test_no_server_is_one_line_and_exit_code_2(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert loadtest(url, tmp_path) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_an_unknown_model_or_repository_is_one_line_and_exit_code_2(
    server: LiveServer, repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for words in (["--model", "a b/c"], ["--repository", str(tmp_path)]):
        assert loadtest(server.url, repository, *words) == 2
        assert capfd.readouterr().err.count("\n") == 1
