"""FastAPI as a front end: it hands every path to the project's own routes, and awaits what is pending.

FastAPI's validation, error bodies and generated documentation are made for typed JSON bodies; tensors are bytes, and
the same routes are mounted by other servers too. So one ASGI endpoint takes all paths, and nothing that matters is
middleware. An application of your own can mount it beside its routes: `app.mount("/", endpoint)`.
"""

import asyncio
import time
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from serving.errors import BodyTooLarge, ModelNotReady
from serving.frontends.arrivals import Arrivals, Ending, Watch
from serving.frontends.http_edge import LEAVING
from serving.limits import Limits
from serving.protocols.route import Dispatcher, HttpRequest, Reply, Waiting


def create_app(dispatcher: Dispatcher, limits: Limits) -> FastAPI:
    """Return a FastAPI application that serves the dispatcher's routes and nothing else."""
    app = FastAPI(title="Sameway", openapi_url=None, docs_url=None, redoc_url=None)
    # Not a mount: that takes paths which begin with a slash, and `OPTIONS *` would meet FastAPI's own 404.
    app.router.default = Endpoint(dispatcher, limits)
    return app


class ClientLeft(Exception):
    """The client closed its connection before its request was complete."""


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
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = HttpRequest(scope["method"], _path(scope), headers, b"", time.monotonic())
        try:
            body = await _body(headers, receive, self._limits.body_bytes)
        except ClientLeft:
            return
        except BodyTooLarge as error:
            # The rest of the body is not read, so the connection cannot be used again.
            reply = self._dispatcher.refuse(request, error)
            await _send(send, request, reply, closing=True)
            return
        except asyncio.CancelledError:
            stopping = ModelNotReady("the server stops, and the request had not come to its end", retry_after_seconds=1)
            await _send(send, request, self._dispatcher.refuse(request, stopping), closing=True)
            raise
        request = HttpRequest(request.method, request.path, headers, body, time.monotonic())
        answer = self._dispatcher.handle(request)
        if isinstance(answer, Waiting):
            try:
                final = await self._wait(answer, scope, receive)
            except asyncio.CancelledError:
                # The server stops, and has waited for this request as long as it may.
                await _send(send, request, answer.interrupted(), closing=True)
                raise
        else:
            final = answer
        if final is not None:
            await _send(send, request, final)

    async def _wait(self, waiting: Waiting, scope: Scope, receive: Receive) -> Reply | None:
        """Return the reply, or None where nobody is there any more to get it."""
        if self._arrivals is None:
            self._arrivals = Arrivals(asyncio.get_running_loop())
        ending = await self._arrivals.wait(waiting.future, waiting.deadline, _watch(scope, receive))
        if ending is Ending.ANSWERED:
            return waiting.reply()
        if ending is Ending.EXPIRED:
            return waiting.expired()
        waiting.abandoned()
        return None


async def _body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    """Return the body; raise BodyTooLarge as soon as it is known to exceed the limit, ClientLeft if it breaks off."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit, f"{declared:.20}")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, "more")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int, found: str) -> BodyTooLarge:
    return BodyTooLarge.at("body", expected=f"at most {limit} bytes", found=found)


def _path(scope: Scope) -> str:
    """Return the path below the place where this application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def _watch(scope: Scope, receive: Receive) -> Watch:
    """Return what tells of a client's leaving: the edge's own way, or for any other server a task that waits for it."""
    edge: Watch | None = scope.get("extensions", {}).get(LEAVING)

    def listen(leaves: Callable[[], None]) -> Callable[[], None]:
        async def until_disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            leaves()

        task = asyncio.create_task(until_disconnected())

        def unwatch() -> None:
            task.cancel()

        return unwatch

    return edge or listen


async def _send(send: Send, request: HttpRequest, reply: Reply, *, closing: bool = False) -> None:
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        *((name.encode(), value.encode()) for name, value in reply.headers),
    ]
    if closing:
        headers.append((b"connection", b"close"))
    start: Message = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else reply.body})
