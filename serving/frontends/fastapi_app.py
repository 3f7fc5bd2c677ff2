"""FastAPI as a front end: it hands every path to the project's own routes, and awaits what is pending.

FastAPI's validation, error bodies and generated documentation are made for typed JSON bodies; tensors are bytes, and
the same routes are mounted by other servers too. So one ASGI endpoint takes every path that nobody else wants, and
nothing that matters is middleware. An application of your own can mount the endpoint beside its routes.
"""

import asyncio

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serving.frontends.arrivals import Arrivals, Ending
from serving.frontends.asgi import ClientLeft, closing, read, send_reply, watch
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import Reply
from serving.protocols.waiting import Waiting


def create_app(dispatcher: Dispatcher, limits: Limits) -> FastAPI:
    """Return a FastAPI application that serves the dispatcher's routes; routes added to it go first."""
    app = FastAPI(
        title="Sameway",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Spans are made in observers, the same on every front end; FastAPI's own would double them, and looks for a
        # provider with every request, which takes some 9 µs.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    # Not a mount: that takes paths which begin with a slash, and `OPTIONS *` would meet FastAPI's own 404.
    app.router.default = Endpoint(dispatcher, limits)
    return app


class Endpoint:
    """The ASGI application in front of the routes."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._arrivals: Arrivals | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"expected an http scope, found {scope['type']}")
        try:
            request = await read(scope, receive, send, dispatcher=self._dispatcher, limits=self._limits)
        except ClientLeft:
            return
        answer = request if isinstance(request, Reply) else self._dispatcher.handle(request)
        if not isinstance(answer, Waiting):
            await send_reply(send, scope["method"], answer)
            return
        try:
            reply = await self._wait(answer, scope, receive)
        except asyncio.CancelledError:
            # The server stops, and has waited for this request as long as it may. Told so, the client has its answer.
            await send_reply(send, scope["method"], closing(answer.interrupted()))
            return
        except BaseException:
            answer.abandoned()  # else its place, and the count of requests in flight, would be lost for ever
            raise
        if reply is not None:
            await send_reply(send, scope["method"], reply)

    async def _wait(self, waiting: Waiting, scope: Scope, receive: Receive) -> Reply | None:
        """Return the reply, or None where nobody is there any more to get it."""
        if self._arrivals is None:
            self._arrivals = Arrivals(asyncio.get_running_loop())
        ending = await self._arrivals.wait(waiting.future, waiting.deadline, watch(scope, receive))
        if ending is Ending.ANSWERED:
            return waiting.reply()
        if ending is Ending.EXPIRED:
            return waiting.expired()
        waiting.abandoned()
        return None
