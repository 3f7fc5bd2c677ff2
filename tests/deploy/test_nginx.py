"""deploy/nginx.conf in a real nginx: what it lets through, what it refuses, and whom it asks again; and that it matters."""

import contextlib
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proofs import rolling
from serving.limits import Limits
from serving.model_config import ModelConfig
from tests.deploy.tools import tool

_MIB = 1024 * 1024


class _Handler(BaseHTTPRequestHandler):
    """Answers with the status that stands behind the path's last slash, after so many seconds where it says them."""

    protocol_version = "HTTP/1.1"
    server: "_Servers"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, _MIB)))
        self.server.asked.append(self.path)
        status, _, seconds = self.path.rpartition("/")[2].partition("+")
        if seconds:
            time.sleep(float(seconds))
        body = json.dumps({"path": self.path}).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(int(status) if status.isdecimal() else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Servers(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.connections = 0


class Balanced:
    """nginx in front of two servers that say what was asked of them."""

    def __init__(self, port: int, servers: list[_Servers]) -> None:
        self._port = port
        self._servers = servers

    def post(self, path: str, body: bytes = b"{}") -> tuple[int, str, bytes]:
        """Return status, type and body of an answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            with contextlib.suppress(ConnectionError):  # refused while it is sent
                connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()

    def asked(self, path: str) -> int:
        """Return how often the servers together were asked for a path."""
        return sum(server.asked.count(path) for server in self._servers)

    @property
    def connections(self) -> int:
        """How many connections the servers together have had."""
        return sum(server.connections for server in self._servers)


@contextlib.contextmanager
def balanced(folder: Path, monkeypatch: pytest.MonkeyPatch, *, text: str | None = None) -> Iterator[Balanced]:
    """Run nginx with the configuration, or another text of it, in front of two servers."""
    if text is not None:
        (folder / "mistaken.conf").write_text(text)
        monkeypatch.setattr(rolling, "CONFIGURATION", folder / "mistaken.conf")
    servers = [_Servers(), _Servers()]
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        ports = [int(server.server_address[1]) for server in servers]
        port = stack.enter_context(rolling.proxy(tool("nginx"), folder, ports))
        yield Balanced(port, servers)


def complaints(found: Balanced) -> list[str]:
    """Return what nginx does otherwise than docs/operations.md and the comments in it say."""
    said = []
    for path in ("/v2/repository/models/digits/load", "/v2/repository/index", "/v2//repository/./index", "/metrics"):
        status, kind, body = found.post(path)
        if (status, kind) != (403, "application/json") or json.loads(body)["code"] != "forbidden" or found.asked(path):
            said.append(f"{path}: {status}, {kind}")
    if found.post("/v2/models/digits/infer", bytes(Limits().body_bytes))[0] != 200:
        said.append("a body of the size that the server takes does not come through")
    status, kind, body = found.post("/big", bytes(Limits().body_bytes + _MIB))
    if (status, kind) != (413, "application/json") or json.loads(body)["code"] != "body_too_large" or found.asked("/big"):
        said.append(f"a larger body: {status}, {kind}")
    for status, times in ((429, 1), (500, 1), (504, 1), (503, 2)):
        if found.post(f"/status/{status}")[0] != status or found.asked(f"/status/{status}") != times:
            said.append(f"{status} is asked for {found.asked(f'/status/{status}')} times")
    before = found.connections
    for _ in range(40):
        found.post("/again")
    if found.connections - before > 20:  # each of nginx's processes has some of its own; not kept, they are 40
        said.append("connections to the servers are not kept")
    return said


def of_text(text: str) -> list[str]:
    """Return what is wrong with the times of a configuration, which nobody wants to wait for."""
    (read,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    (again,) = re.findall(r"proxy_next_upstream_timeout (\d+)s;", text)
    said = []
    if int(read) < ModelConfig().timeout_seconds + 2:
        said.append("an answer in time for the model is too late for nginx")
    if int(again) >= int(read):
        said.append("an answer that is late is asked for again")
    if float(re.findall(r"proxy_connect_timeout (\d+)s;", text)[0]) > 2:
        said.append("a machine that is gone costs each request more than two seconds")
    return said


def test_nginx_does_what_its_comments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with balanced(tmp_path, monkeypatch) as found:
        assert complaints(found) == []
    assert of_text(rolling.CONFIGURATION.read_text()) == []


_MISTAKES = {
    "management is open": ("location ~ ^/(v2/repository/|metrics$)", "location ~ ^/never/"),
    "the index is open": ("^/(v2/repository/|metrics$)", "^/(v2/repository/models|metrics$)"),
    "bodies of 1 MiB": ("client_max_body_size 32m", "client_max_body_size 1m"),
    "bodies of any size": ("client_max_body_size 32m", "client_max_body_size 0"),
    "errors are pages": ("error_page 400", "# error_page 400"),
    "429 is asked of the other server": ("error timeout http_503", "error timeout http_429 http_503"),
    "504 is asked of the other server": ("error timeout http_503", "error timeout http_504 http_503"),
    "503 is not": ("error timeout http_503", "error timeout"),
    "POST is not": ("http_503 non_idempotent", "http_503"),
    "connections are not kept": ('proxy_set_header Connection "";', ""),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_is_noticed(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = rolling.CONFIGURATION.read_text()
    right, wrong = _MISTAKES[mistake]
    assert text.count(right) == 1
    with balanced(tmp_path, monkeypatch, text=text.replace(right, wrong)) as found:
        assert complaints(found) != []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("proxy_read_timeout 15s", "proxy_read_timeout 2s"),
        ("proxy_next_upstream_timeout 10s", "proxy_next_upstream_timeout 60s"),
        ("proxy_connect_timeout 1s", "proxy_connect_timeout 60s"),
    ],
)
def test_a_wrong_time_is_noticed(right: str, wrong: str) -> None:
    text = rolling.CONFIGURATION.read_text()
    assert text.count(right) == 1
    assert of_text(text.replace(right, wrong)) != []


def test_where_no_server_is_there_it_says_so_as_a_server_would(tmp_path: Path) -> None:
    with rolling.proxy(tool("nginx"), tmp_path, [1, 1]) as port:
        status, kind, body = Balanced(port, []).post("/v2/models/digits/infer")
    assert (status, kind) == (502, "application/json")
    assert json.loads(body) == {"error": "no server answers", "code": "server_busy"}


@pytest.mark.long
def test_an_answer_of_twelve_seconds_comes_through_and_one_of_twenty_is_given_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with balanced(tmp_path, monkeypatch) as found:
        assert found.post("/slow/200+12")[0] == 200
        status, kind, body = found.post("/slow/200+20")
        assert (status, kind, json.loads(body)["code"]) == (504, "application/json", "deadline_exceeded")
        assert found.asked("/slow/200+20") == 1
