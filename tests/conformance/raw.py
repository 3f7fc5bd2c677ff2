"""HTTP/1.1 by hand: bytes out, answers in, nothing repaired on the way. No honest library would send most of it."""

import contextlib
import json
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.conformance.servers import Server

#: Nothing here takes a tenth of it where all is well.
TIMEOUT_SECONDS = 20.0


class ConnectionEnded(Exception):
    """The server closed the connection where an answer was due."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # Any: whatever the server says
        """Return the body as JSON; NaN and infinity are no JSON."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is no JSON")

        return json.loads(self.body, parse_constant=refuse)

    @property
    def closes(self) -> bool:
        """Whether the server says that it closes the connection."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    """One connection to a server."""

    def __init__(self, server: Server, *, receive_bytes: int | None = None) -> None:
        """Connect; `receive_bytes` is how much the machine may receive of an answer that nobody reads."""
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._socket.connect((server.host, server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def send_while_taken(self, data: bytes) -> None:
        """Send bytes; a server that has answered meanwhile need not take them all."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def drip(self, data: bytes, *, every_seconds: float) -> None:
        """Send a byte at a time, until the server says something."""
        for number in range(len(data)):
            self.send_while_taken(data[number : number + 1])
            if self.speaks_within(every_seconds):
                return

    def speaks_within(self, seconds: float) -> bool:
        """Wait so long for the server to say something, or to end the connection, and tell whether it has."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def answer(self, *, head: bool = False) -> Answer:
        """Return the next answer; `head` for one that has no body whatever its headers say."""
        line = self._line()
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        if int(status) < 200:
            return Answer(int(status), headers, b"")
        # Every answer of this server has a length: nothing it says is ever cut off unnoticed.
        size = int(headers["content-length"])
        body = b"" if head else self._received.read(size)
        assert head or len(body) == size, f"{len(body)} of {size} bytes"
        return Answer(int(status), headers, body)

    def ended(self) -> bool:
        """Wait for what comes next, and tell whether it is the end of the connection."""
        try:
            return not self._received.peek(1)
        except ConnectionResetError:
            return True

    def was_reset_within(self, seconds: float) -> bool:
        """Wait so long for the server to abort the connection, and tell whether it has; reads nothing."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(seconds * 1000))

    def drain(self) -> int:
        """Return how many bytes still come before the connection ends."""
        size = 0
        try:
            while piece := self._received.read1(1 << 20):
                size += len(piece)
        except ConnectionResetError:
            pass
        return size

    def rest(self) -> bytes:
        """Return all that still comes, to the end of the connection."""
        try:
            return self._received.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        """End the connection."""
        self._received.close()
        self._socket.close()

    def _line(self) -> str:
        line = self._received.readline()
        if not line:
            raise ConnectionEnded
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("latin-1")


def request(method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a well-formed request; headers given take the place of those that it would have."""
    fields = {"Host": "localhost"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **(headers or {})}.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")


def ask(
    server: Server, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return the answer to one request on a connection of its own."""
    with Connection(server) as connection:
        connection.send_while_taken(request(method, target, body, headers))
        return connection.answer(head=method == "HEAD")


def infer_body(name: str, datatype: str, shape: list[int], data: object) -> bytes:
    """Return an honest request for inference with one input."""
    return json.dumps({"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}).encode()
