"""A WSGI application called with a request that is whole: its environment, its answer, and what tells it to wait no longer.

PEP 3333 is the standard this follows. wsgi_line.py has the threads it runs in.
"""

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from serving.errors import InternalError
from serving.protocols.route import HttpRequest, Reply, error_reply

log = logging.getLogger(__name__)

# Any: PEP 3333 puts strings, files and whatever a server adds into one dictionary.
Environ = dict[str, Any]
Address = tuple[str, int | None]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Where an application finds the request as it was read, and what tells it that the client has left.
REQUEST = "sameway.request"
LEAVING = "sameway.leaving"

#: Where it finds what was computed already; whoever tells the answer takes it away.
AT_ONCE = "sameway.at_once"


class Leaving:
    """Tells a thread's work that its client has left, or that the server stops and waits no longer. Thread-safe.

    `waiting` is entered by a thread of the pool for as long as it waits.
    """

    def __init__(self, waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext) -> None:
        self.waiting = waiting
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None
        self.left = False
        self.interrupted = False

    def then(self, wake: Callable[[], object]) -> None:
        """Call this when either happens; at once if it has."""
        with self._lock:
            self._wake = wake
            happened = self.left or self.interrupted
        if happened:
            wake()

    def leave(self) -> None:
        """Say that the client has left."""
        self.left = True
        self._happen()

    def interrupt(self) -> None:
        """Say that the server stops."""
        self.interrupted = True
        self._happen()

    def _happen(self) -> None:
        with self._lock:
            wake = self._wake
        if wake is not None:
            wake()


def call(app: WsgiApp, environ: Environ) -> Reply:
    """Run a WSGI application to its end and return its whole answer."""
    status = 500
    headers: list[tuple[str, str]] = []

    def start_response(line: str, fields: list[tuple[str, str]], _: object = None) -> Callable[[bytes], None]:
        nonlocal status, headers
        status, headers = int(line[:3]), fields
        return parts.append

    parts: list[bytes] = []
    iterable: Iterable[bytes] = ()
    try:
        iterable = app(environ, start_response)
        parts.extend(iterable)
    except Exception as error:  # one that breaks off has no answer
        log.error("event=internal_error path=%r", environ["PATH_INFO"], exc_info=error)
        return error_reply(InternalError("an internal error; the server's log has its cause"))
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()
    media_type = next((value for name, value in headers if name.lower() == "content-type"), "application/octet-stream")
    others = tuple((name, value) for name, value in headers if name.lower() not in ("content-type", "content-length"))
    return Reply(status, b"".join(parts), media_type, others)


def environ_of_head(server: Address | None, client: Address | None, scheme: str, head: HttpRequest) -> Environ:
    """Return what PEP 3333 asks for of a head, the same for every request with this head on its connection."""
    server, client = server or ("", 0), client or ("", 0)
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in head.headers.items()}
    return {
        **headers,
        # The answer to a HEAD has the length of the body that a GET would get: the edge leaves the body out.
        "REQUEST_METHOD": "GET" if head.method == "HEAD" else head.method,
        "SCRIPT_NAME": "",
        # WSGI's strings hold bytes: UTF-8, each byte as the character of its number.
        "PATH_INFO": head.path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "CONTENT_TYPE": head.headers.get("content-type", ""),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def environ_of(of_head: Mapping[str, Any], request: HttpRequest, leaving: Leaving) -> Environ:
    """Return the environment of one request, for the application to change: its head's, its body, and our own two keys."""
    return {
        **of_head,
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
        REQUEST: request,
        LEAVING: leaving,
    }
