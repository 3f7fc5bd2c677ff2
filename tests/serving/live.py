"""`sameway serve` in a process of its own, on a free port of the loopback, and a raw connection to it."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.serving.sessions import PATIENCE

ROOT = Path(__file__).parents[2]


class Answer(NamedTuple):
    """One HTTP answer as it was on the wire; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # Any: JSON
        return json.loads(self.body)


class LiveServer:
    """A running server. Its log is kept line by line; what it writes to standard output goes to a file, if one is given.

    `on_line` is called with each line of the log as it is read.
    """

    def __init__(
        self,
        repository: Path,
        *flags: str,
        stdout: Path | None = None,
        on_line: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._on_line = on_line
        sameway = str(Path(sys.executable).with_name("sameway"))
        command = [sameway, "serve", "--repository", str(repository), "--port", "0", *flags]
        with contextlib.ExitStack() as files:
            out = None if stdout is None else files.enter_context(stdout.open("ab"))
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self._listening = threading.Event()
        self.port = self.management_port = 0
        self._managed = "--management-port" in flags
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(PATIENCE) or not self.port:
            self.kill()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._on_line(line)
            if found := re.search(r"event=(listening|managing) url=https?://127\.0\.0\.1:(\d+)", line):
                # The listener for management is the last to begin, where there is one.
                if found[1] == "listening":
                    self.port = int(found[2])
                else:
                    self.management_port = int(found[2])
                if found[1] == "managing" or not self._managed:
                    self._listening.set()
        self._listening.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask on a connection of its own."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers={**(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return Answer(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {name.lower(): value for name, value in error.headers.items()}, error.read())

    def ready(self) -> "LiveServer":
        """Wait until the server is ready, and return it."""
        self.until(lambda: self.ask("GET", "/v2/health/ready").status == 200, "ready")
        return self

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Look again and again until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not {what}:\n" + "".join(self.log)
            time.sleep(0.01)

    def value(self, name: str, *, headers: Mapping[str, str] | None = None, **labels: str) -> float:
        """Return a metric's value, 0 where the series does not exist."""
        text = self.ask("GET", "/metrics", headers=headers).body.decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        wanted = (sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
        return sum(wanted)

    def connect(self) -> "Connection":
        return Connection(self.port)

    def stop(self) -> int:
        """End the server as an orchestrator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def serving(repository: Path, *flags: str, stdout: Path | None = None) -> Iterator[LiveServer]:
    """Run a server, ready, and end it."""
    server = LiveServer(repository, "--drain-delay-seconds", "0", *flags, stdout=stdout)
    try:
        yield server.ready()
    finally:
        server.kill()


class Connection:
    """One TCP connection on which a test may send whatever it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._received = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> "Connection":
        for part in parts:
            self.socket.sendall(part)
        return self

    def answer(self, *, head: bool = False) -> Answer:
        """Read one answer; `head` says that it is one to a HEAD, which has no body."""
        raw = self._until(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        status = int(lines[0].split(" ")[1])
        if status == 100:
            return self.answer(head=head)
        size = 0 if head else int(headers["content-length"])
        while len(self._received) < size:
            self._more()
        body, self._received = self._received[:size], self._received[size:]
        return Answer(status, headers, body)

    def closed(self) -> bool:
        """Tell whether the server ends the connection now, without another byte."""
        try:
            return not self._received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        found, _, self._received = self._received.partition(mark)
        return found

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        assert data, f"the connection ended after {self._received!r}"
        self._received += data


def descriptors(pid: int) -> set[str]:
    """Return what a process's descriptors are of, without those that go while they are being looked at."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.add(str(path.readlink()))
    return found


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return an HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: test", *headers]
    if body or method in ("POST", "PUT"):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
