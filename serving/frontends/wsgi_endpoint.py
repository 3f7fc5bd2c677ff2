"""A WSGI application as an ASGI application, on the same HTTP edge as everything else.

The body is read on the event loop, below its limit and its deadline, so that a slow client occupies no thread; the
application runs in a bounded pool of threads; and when a client leaves, or the server stops, its thread stops waiting.
Requests that never wait, the probes among them, are answered in front of the application, by the same routes. Requests for
models mostly come by the lane (wsgi_lane.py), and to the same threads.
"""

import asyncio
import contextlib
import time

from starlette.types import Receive, Scope, Send

from serving.errors import ServerBusy
from serving.frontends.arrivals import Arrivals
from serving.frontends.asgi import ClientLeft, closing, read, send_reply, watch
from serving.frontends.wsgi import WsgiApp, environ_of, environ_of_head
from serving.frontends.wsgi_lane import WsgiLane
from serving.frontends.wsgi_line import Turn, WsgiLine
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, Reply, error_reply
from serving.protocols.waiting import not_finished

#: How long a thread that was told to stop waiting may take to say so: it has an error to encode.
_INTERRUPTED_SECONDS = 1.0


class WsgiEndpoint:
    """The ASGI application around a WSGI application."""

    def __init__(self, app: WsgiApp, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self.line = WsgiLine(app, dispatcher, limits)

    def lane(self, loop: asyncio.AbstractEventLoop) -> WsgiLane:
        """Return the lane by which requests for models come past ASGI."""
        return WsgiLane(self.line, self._dispatcher, self._limits, Arrivals(loop), loop=loop)

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
        if (overload := self.line.overload(request)) is not None:
            return self._dispatcher.refuse(request, overload)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Turn] = loop.create_future()

        def tell(turn: Turn) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(ended.set_result, turn)

        leaving = self.line.leaving()
        unwatch = watch(scope, receive)(leaving.leave)
        head = environ_of_head(scope.get("server"), scope.get("client"), scope.get("scheme", "http"), request)
        head["QUERY_STRING"] = scope.get("query_string", b"").decode("latin-1")
        head["SERVER_PROTOCOL"] = f"HTTP/{scope['http_version']}"
        try:
            turn = self.line.begin(environ_of(head, request, leaving), leaving, tell)
        except RuntimeError:  # no thread can be made, and there is none
            unwatch()
            busy = ServerBusy("the server has no thread for the request", retry_after_seconds=1)
            return self._dispatcher.refuse(request, busy)
        try:
            await asyncio.shield(ended)
            reply = turn.reply
        except asyncio.CancelledError:
            # The server stops, and has waited for this request as long as it may. Told so, the client has its answer.
            leaving.interrupt()
            await _end(ended)
            reply = closing(turn.reply or error_reply(not_finished()))
        finally:
            unwatch()
            self.line.ended(turn)
        return None if leaving.left else reply


async def _end(ended: "asyncio.Future[Turn]") -> None:
    """Wait for a thread that was told to stop waiting."""
    until = time.monotonic() + _INTERRUPTED_SECONDS
    while not ended.done() and (left := until - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):  # a loop that ends cancels once more
            await asyncio.wait([ended], timeout=left)
