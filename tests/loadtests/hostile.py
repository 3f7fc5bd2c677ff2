"""A server that says whatever it likes: on raw sockets, each of its answers a function that writes bytes.

It speaks the protocol of `faulty.METADATA`'s model where a test does not say otherwise.
"""

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.loadtests.faulty import METADATA

#: Whoever has taken nothing for so long has had enough.
PATIENCE_SECONDS = 1.0


class Talk:
    """One request, and the connection on which it is answered."""

    def __init__(self, connection: socket.socket, path: str, head: str, body: bytes, stop: threading.Event) -> None:
        self.path, self.head, self.body = path, head, body
        self.sent = 0
        self.close = False
        self._connection, self._stop = connection, stop

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)
        self.sent += len(data)

    def reply(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
        self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + body)

    def for_ever(self, data: bytes, *, pause: float = 0.0) -> None:
        """Write the same again and again, until the client hangs up or the test has ended."""
        self.close = True
        self._connection.settimeout(PATIENCE_SECONDS)
        while not self._stop.wait(pause):
            self.send(data)

    @property
    def right(self) -> dict[str, Any]:
        x = json.loads(self.body)["inputs"][0]
        y = {"name": "y", "datatype": "FP32", "shape": x["shape"], "data": [2 * value for value in x["data"]]}
        return {"model_name": "double", "model_version": "1", "outputs": [y]}


Say = Callable[[Talk], None]


def body(data: bytes, *headers: str, status: str = "200 OK") -> Say:
    return lambda talk: talk.reply(data, *headers, status=status)


def told(value: object, *headers: str) -> Say:
    return body(json.dumps(value).encode(), *headers)


def raw(data: bytes) -> Say:
    def say(talk: Talk) -> None:
        talk.close = True
        talk.send(data)

    return say


def endless(head: bytes, data: bytes, *, pause: float = 0.0) -> Say:
    def say(talk: Talk) -> None:
        talk.send(head)
        talk.for_ever(data, pause=pause)

    return say


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

#: Answers that are none, to whatever was asked.
TRANSPORT: dict[str, Say] = {
    "nothing": raw(b""),
    "garbage": raw(b"\x00\xff\xfe garbage\r\n\r\n"),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-"),
    "a body cut short": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"a'),
    "a length below zero": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "a length that is none": raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "a length of exabytes": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n{}"),
    "chunks that lie": raw(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"),
    "a redirect": body(b"", "Location: /v2/elsewhere", status="302 Found"),
    "HTML": body(b"<html><script>alert(1)</script></html>"),
    "a page of an error": body(b"\x1b[31m<script>alert(2)</script>\xff\x00", status="500 Oh no"),
    "compressed": body(b"\x1f\x8b\x08\x00 no gzip at all", "Content-Encoding: gzip"),
    "gigabytes": endless(CHUNKED, b"10000\r\n" + b"7" * 65536 + b"\r\n"),
    "gigabytes until the end": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"7" * 65536),
    "a head without end": endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 1000 + b"\r\n"),
    "a header without end": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536),
    "interim answers without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "trailers without end": endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "dripping": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"7", pause=0.05),
    "a dripping head": endless(b"HTTP/1.1 200 OK\r\nX: ", b"7", pause=0.05),
}

#: Bodies that are JSON or nearly, and no answer.
BODIES: dict[str, bytes] = {
    "empty": b"",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "deep": b'{"a":' * 200_000,
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "just as deep as can be read": b'{"outputs":' + b"[" * 900 + b"]" * 900 + b"}",
    "null": b"null",
    "a number": b"1e999",
    "digits": b"9" * 10_000,
    "a list": b"[1, 2]",
    "a text": b'"<script>"',
    "half of a character": b'"\\ud800"',
}


class Hostile(socketserver.ThreadingTCPServer):
    """Answers by what is asked for: `model`, `infer`, `metrics`, `identity`; a sequence of answers is gone through in turn.

    `infer` is right for the first `well_behaved` ones.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *, well_behaved: int = 0, **says: Say | Sequence[Say]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says = {kind: [said] if callable(said) else list(said) for kind, said in says.items()}
        self.asked = {"model": 0, "infer": -well_behaved, "metrics": 0, "identity": 0}
        self.most_sent = 0
        self.stop = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, talk: Talk) -> None:
        path = talk.path
        kind = "infer" if path.endswith("/infer") else "model" if "/models/" in path else path.removeprefix("/")
        kind = "identity" if kind == "v2" else kind
        if kind == "infer" and "inference-header-content-length" in talk.head.lower():
            talk.reply(b"no binary tensors here", status="400 Bad Request")
            return
        with self.lock:
            number = self.asked[kind]
            self.asked[kind] += 1
        if number >= 0 and kind in self.says:
            self.says[kind][number % len(self.says[kind])](talk)
        elif kind == "infer":
            told(talk.right)(talk)
        elif kind == "model":
            told(METADATA)(talk)
        else:
            talk.reply(b"not here", status="404 Not Found")

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(socketserver.BaseRequestHandler):
    server: Hostile

    def handle(self) -> None:
        waiting = b""
        while True:
            while b"\r\n\r\n" not in waiting:
                if not (more := self.request.recv(65536)):
                    return
                waiting += more
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            wanted = int(length[1]) if length else 0
            while len(waiting) < wanted:
                waiting += self.request.recv(65536)
            sent, waiting = waiting[:wanted], waiting[wanted:]
            talk = Talk(self.request, head.split()[1].decode(), head.decode("latin-1"), sent, self.server.stop)
            try:
                self.server.answer(talk)
            finally:
                self.server.most_sent = max(self.server.most_sent, talk.sent)
            if talk.close:
                return


@contextlib.contextmanager
def hostile(**says: Any) -> Iterator[Hostile]:  # Any: what Hostile takes
    """Run such a server until the block ends."""
    server = Hostile(**says)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
