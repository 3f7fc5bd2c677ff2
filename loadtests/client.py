"""One connection to the server under load, and one request at a time on it: sent, and its answer read, up to a size.

On geventhttpclient's pool and its parser, which is llhttp. What lies above them in that library and in Locust is left out:
it follows cookies, decompresses what was not asked for, reads answers of any size, and writes a whole conversation down for
every status but 2xx. Loaded in a process of the generator only.
"""

import errno
import select
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent.socket
from gevent.ssl import SSLContext
from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketPoolResponse

#: The largest head of an answer. What a body may have is what the expected answer has, and much more.
HEAD_BYTES = 1 << 16

_BLOCK_BYTES = 1 << 14

#: What ends a request that could be sent only in part: the answer may be there already.
_BROKEN = (errno.ECONNRESET, errno.EPIPE)

#: What the generator's own machine has no more of: descriptors, memory of the network, ports.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL)


class TooLarge(HTTPParseError):
    """The answer is larger than any that could be right; the message says than what."""


class Answer(HTTPSocketPoolResponse):
    """One answer. `most_bytes` bounds all that is read of it: head, interim answers, body and what frames it."""

    def __init__(self, sock: Any, pool: ConnectionPool, *, most_bytes: int) -> None:  # Any: gevent is not typed
        self._most_bytes = self._left = most_bytes
        super().__init__(sock, pool, block_size=_BLOCK_BYTES, method="POST")

    def feed(self, data: str | bytes) -> None:
        """Parse what came; raise TooLarge, or HTTPConnectionClosed where the answer ends before its end."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"an answer of more than {self._most_bytes:,} bytes")
        super().feed(data)
        if not data and not self.message_complete:
            raise HTTPConnectionClosed("connection closed before the end of the answer")

    def header(self, name: str) -> str | None:
        """Return a header; None where it is missing, or there twice."""
        value = self.get(name)
        return value if isinstance(value, str) else None


class _Poll:
    """A pool that looks whether a connection is still alive by poll: select knows no descriptor from 1,024 on."""

    def _is_socket_alive(self, sock: Any) -> bool:  # Any: gevent is not typed
        if sock is None or sock.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return not poll.poll(0)  # an end, or an answer that nobody has asked for


class _Pool(_Poll, ConnectionPool):
    pass


class _TlsPool(_Poll, SSLConnectionPool):
    pass


class Client:
    """A client of one server. `timeout_seconds` is that of each read; whoever asks has one for the whole."""

    def __init__(self, url: str, *, timeout_seconds: float, tls: Callable[[], SSLContext]) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        more: dict[str, Any] = {"size": 1, "network_timeout": timeout_seconds, "connection_timeout": timeout_seconds}
        self._pool: ConnectionPool = (
            _TlsPool(host, port, host, port, ssl_context_factory=lambda cafile: tls(), **more)
            if secure
            else _Pool(host, port, host, port, **more)
        )
        where = f"[{host}]" if ":" in host else host
        self._host = where if parts.port is None else f"{where}:{port}"
        self._base = parts.path

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """Return the beginning of a request to a path, without the length of its body."""
        lines = [f"POST {self._base}{path} HTTP/1.1", f"Host: {self._host}"]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), ""]).encode("latin-1")

    def ask(self, head: bytes, body: bytes, most_bytes: int) -> tuple[Answer, bytes]:
        """Send a request and return the answer and its body; raise OSError or HTTPParseError where none comes.

        Nothing is sent twice. A connection on which anything went wrong is closed, so that no answer is taken for another's.
        """
        sock = self._pool.get_socket()
        try:
            sock.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        except BaseException as error:
            if not isinstance(error, gevent.socket.error) or error.errno not in _BROKEN:
                self._pool.release_socket(sock)
                raise
        answer = Answer(sock, self._pool, most_bytes=HEAD_BYTES + most_bytes)
        return answer, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
