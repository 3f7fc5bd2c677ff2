"""The server under test as whoever asks it one thing at a time: what it serves, one inference, its metrics.

The load itself does not come this way. Everything that can be wrong with an address, a key or a model's name is found here,
before there is any.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from loadtests.metadata import OddMetadata, metadata_of
from loadtests.said import words

#: Whoever has not answered a single question by then is not there: for the whole answer, however it drips.
_PATIENCE_SECONDS = 10.0

#: What a server says of itself and of a model is some kilobytes. An answer to one row has been seen with some megabytes.
FACTS_BYTES, ANSWER_BYTES = 4 << 20, 64 << 20

_BLOCK_BYTES = 1 << 16


class CannotRun(Exception):
    """The test could not be started; the message says why."""


class NoAnswer(OSError):
    """No whole answer came; the message says what did, in words that can be shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case. Nothing in it is believed yet."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how it is asked: `headers` go with every request (a key), `ca` is a file of who is trusted."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None
    patience_seconds: float = _PATIENCE_SECONDS

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:  # a port that is no number
            sound = False
        if not sound or parts.query or parts.fragment or parts.username:
            raise CannotRun(f"url: expected http://host:port, found {self.url!r}")

    @property
    def on_loopback(self) -> bool:
        """Whether the server shares this machine with the generator."""
        return (urlsplit(self.url).hostname or "") in ("127.0.0.1", "localhost", "::1")

    def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, most: int = ANSWER_BYTES
    ) -> Answer:
        """Send one request and return its answer, of `most` bytes; raise NoAnswer where there is none by the patience.

        Redirects are not followed, proxies not asked, and what is sent or dripped beyond size and time is not read.
        """
        deadline = time.monotonic() + self.patience_seconds
        with contextlib.closing(self._connection()) as connection, contextlib.ExitStack() as stack:
            late = threading.Event()
            try:
                connection.connect()
                stack.enter_context(_cut_off(connection.sock, self.patience_seconds, late))
                method = "GET" if body is None else "POST"
                connection.request(method, urlsplit(self.url).path + path, body, {**self.headers, **(headers or {})})
                answer = stack.enter_context(connection.getresponse())
                found = _read(answer, most, deadline)
                return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, found)
            except ssl.SSLCertVerificationError as error:
                raise NoAnswer(f"expected a certificate that is trusted here (--ca FILE), found: {error}") from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                if late.is_set() or isinstance(error, TimeoutError):
                    raise NoAnswer(f"no whole answer within {self.patience_seconds:g} s") from error
                told = str(error) or type(error).__name__
                raise NoAnswer(words(told)) from error

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, patience = parts.hostname or "", self.patience_seconds
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=patience, context=self._tls())
        return http.client.HTTPConnection(host, parts.port, timeout=patience)

    def metadata(self, model: str) -> dict[str, Any]:
        """Return what the server says of a model, checked; raise CannotRun where there is no server, or no such model.

        Any: JSON. `inputs` and `outputs` have names, datatypes and shapes of whole numbers, `versions` are texts.
        """
        try:
            answer = self.ask(f"/v2/models/{quote(model, safe='')}", most=FACTS_BYTES)
        except NoAnswer as error:
            raise CannotRun(f"{self.url}: no Open Inference Protocol server answers there: {error}") from error
        if answer.status != 200:
            told = words(answer.body, 300)
            raise CannotRun(f"{self.url}: model {model!r}: expected status 200, found {answer.status}: {told}")
        try:
            return metadata_of(json.loads(answer.body))
        except (ValueError, RecursionError) as error:
            told = str(error) if isinstance(error, OddMetadata) else f"found {words(repr(answer.body[:120]))}"
            raise CannotRun(f"{self.url}: no Open Inference Protocol server answers there: {told}") from error

    def identity(self) -> dict[str, str]:
        """Return name and version as the server says them of itself (`GET /v2`); empty where it says nothing."""
        try:
            answer = self.ask("/v2", most=FACTS_BYTES)
            found = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: words(found[name]) for name in ("name", "version") if isinstance(found.get(name), str)}

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise CannotRun(f"ca: expected a PEM file of certificates, found {self.ca}: {error}") from error


@contextlib.contextmanager
def _cut_off(connected: socket.socket, seconds: float, late: threading.Event) -> Iterator[None]:
    """Break a connection when its time is over: a timeout of the socket's own begins anew with every byte."""

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it has ended meanwhile
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(answer: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    """Return a body that is neither larger than `most` nor later than `deadline`; raise OSError."""
    told = answer.length  # 0 at the end of a whole body, None where the server did not say
    found = bytearray()
    while block := answer.read1(_BLOCK_BYTES):
        found += block
        if len(found) > most:
            raise OSError(f"an answer of more than {most:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    if told and len(found) < told:
        raise OSError(f"a body of {len(found):,} bytes where Content-Length says {told:,}")
    return bytes(found)
