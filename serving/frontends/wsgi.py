"""A WSGI application on the same HTTP edge as everything else.

The body is read on the event loop, below its limit and its deadline, so that a slow client occupies no thread; the
application runs in a bounded pool of threads; and when a client leaves, or the server stops, its thread stops waiting.
Requests that never wait, the probes among them, are answered in front of the application, by the same routes.
PEP 3333 is the standard this follows.
"""

import asyncio
import contextlib
import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from starlette.types import Receive, Scope, Send

from serving.engine.admission import retry_after
from serving.errors import InternalError, ModelNotReady, Overloaded
from serving.frontends.asgi import ClientLeft, closing, read, send_reply, watch
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, Reply, error_reply

log = logging.getLogger(__name__)

# Any: PEP 3333 puts strings, files and whatever a server adds into one dictionary.
Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Weight of the newest request in the time for which one keeps its thread: half of the memory is younger than seven.
_WEIGHT = 0.1

#: How long a thread that was told to stop waiting may take to say so: it has an error to encode.
_INTERRUPTED_SECONDS = 1.0

#: Where an application finds the request as it was read, and what tells it that the client has left.
REQUEST = "sameway.request"
LEAVING = "sameway.leaving"


class Leaving:
    """Tells a thread's work that its client has left, or that the server stops and waits no longer. Thread-safe."""

    def __init__(self) -> None:
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


class WsgiEndpoint:
    """The ASGI application around a WSGI application."""

    def __init__(self, app: WsgiApp, dispatcher: Dispatcher, limits: Limits) -> None:
        self._app = app
        self._dispatcher = dispatcher
        self._limits = limits
        self._pool = ThreadPoolExecutor(max_workers=limits.wsgi_threads, thread_name_prefix="wsgi")
        self._inside = 0
        self._kept_seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            request = await read(scope, receive, send, dispatcher=self._dispatcher, limits=self._limits)
        except ClientLeft:
            return
        reply = request if isinstance(request, Reply) else await self._answer(request, scope, receive)
        if reply is not None:
            await send_reply(send, scope["method"], reply)

    async def _answer(self, request: HttpRequest, scope: Scope, receive: Receive) -> Reply | None:
        """Return the answer, None where nobody is there any more to get it.

        What never waits is answered here: a probe must not stand in line behind inference for a thread.
        """
        if self._dispatcher.waits(request):
            return await self._run(request, scope, receive)
        answer = self._dispatcher.handle(request)
        if isinstance(answer, Reply):
            return answer
        answer.abandoned()
        raise RuntimeError(f"expected an answer at once for {request.path!r}, found one to wait for")

    async def _run(self, request: HttpRequest, scope: Scope, receive: Receive) -> Reply | None:
        """Run the application in a thread and return its answer, None where nobody is there any more to get it."""
        if (overload := self._overload(request)) is not None:
            return self._dispatcher.refuse(request, overload)
        leaving = Leaving()
        self._inside += 1
        unwatch = watch(scope, receive)(leaving.leave)
        work = self._pool.submit(_timed_call, self._app, _environ(scope, request, leaving))
        try:
            reply, kept = await asyncio.shield(asyncio.wrap_future(work))
            self._kept_seconds += _WEIGHT * (kept - self._kept_seconds)
        except asyncio.CancelledError:
            # The server stops, and has waited for this request as long as it may. Told so, the client has its answer.
            reply = closing(await self._interrupt(request, work, leaving))
        finally:
            unwatch()
            self._inside -= 1
        return None if leaving.left else reply

    async def _interrupt(self, request: HttpRequest, work: Future[tuple[Reply, float]], leaving: Leaving) -> Reply:
        """Have a request given up, by its thread if it has one, and return what to say."""
        stopping = ModelNotReady("the server stops, and could not finish the request before", retry_after_seconds=1)
        if work.cancel():
            return self._dispatcher.refuse(request, stopping)
        leaving.interrupt()
        ended = asyncio.wrap_future(work)
        until = time.monotonic() + _INTERRUPTED_SECONDS
        while not ended.done() and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.CancelledError):  # a loop that ends cancels once more
                await asyncio.wait([ended], timeout=left)
        return work.result()[0] if work.done() else error_reply(stopping)

    def _overload(self, request: HttpRequest) -> Overloaded | None:
        """Return why a request may not wait for a thread: the line is full, or longer than its time. None: it may.

        The engine sees a request only once it has a thread, so the line for threads needs a bound in time of its own.
        """
        line = self._inside + 1 - self._limits.wsgi_threads
        if line <= 0:
            return None
        wait = line * self._kept_seconds / self._limits.wsgi_threads
        if line > self._limits.wsgi_waiting or wait >= self._dispatcher.patience_seconds(request):
            return Overloaded("too many requests wait for a thread", retry_after_seconds=retry_after(wait))
        return None


def _timed_call(app: WsgiApp, environ: Environ) -> tuple[Reply, float]:
    """Return an application's answer, and for how many seconds it has kept its thread."""
    started = time.monotonic()
    return _call(app, environ), time.monotonic() - started


def _call(app: WsgiApp, environ: Environ) -> Reply:
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


def _environ(scope: Scope, request: HttpRequest, leaving: Leaving) -> Environ:
    """Return the environment PEP 3333 asks for, and our own two keys."""
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return {
        **headers,
        # The answer to a HEAD has the length of the body that a GET would get: the edge leaves the body out.
        "REQUEST_METHOD": "GET" if request.method == "HEAD" else request.method,
        "SCRIPT_NAME": "",
        # WSGI's strings hold bytes: UTF-8, each byte as the character of its number.
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        REQUEST: request,
        LEAVING: leaving,
    }
