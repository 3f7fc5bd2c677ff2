"""What every ASGI endpoint does: read a body below its limit, notice a client that leaves, send a Reply."""

import asyncio
import time
from collections.abc import Callable

from starlette.types import Message, Receive, Scope, Send

from serving.errors import BodyTooLarge, Cancelled
from serving.frontends.arrivals import Watch
from serving.frontends.head import headers_of
from serving.frontends.shared import not_whole
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, Reply

#: The ASGI scope's extension under which the edge offers to call a function when the client leaves.
LEAVING = "sameway.leaving"

#: And the one that says that the listener for management took the connection; nothing that a client sends says so.
MANAGEMENT = "sameway.management"


#: Where the edge leaves the error with which it ended a request whose body never became whole.
REFUSAL = "sameway.refusal"


class ClientLeft(Exception):
    """The client closed its connection before its request was complete."""


async def read(scope: Scope, receive: Receive, send: Send, *, dispatcher: Dispatcher, limits: Limits) -> HttpRequest | Reply:
    """Return a whole request, or the reply for one whose body is too large; raise ClientLeft if it breaks off.

    Where the server stops before the request has come to its end, its client is told so, and then ClientLeft is raised.
    """
    headers = headers_of(scope["headers"])
    method, path = scope["method"], _path(scope)
    # None where a server has no address for its peer, as on a Unix socket.
    address = peer[0] if (peer := scope.get("client")) else None
    on_management = MANAGEMENT in (scope.get("extensions") or {})
    head = HttpRequest(method, path, headers, b"", time.monotonic(), address, on_management=on_management)
    if _has_body(headers) and (refusal := dispatcher.turned_away(head)) is not None:
        return closing(refusal)
    try:
        body = await _body(headers, receive, limits.body_bytes)
    except BodyTooLarge as error:
        return closing(dispatcher.refuse(head, error))
    except ClientLeft:
        # The edge has answered, if anybody is there to be answered; here the request is counted.
        dispatcher.refuse(head, (scope.get("extensions") or {}).get(REFUSAL) or Cancelled("the client left"))
        raise
    except asyncio.CancelledError:
        reply = dispatcher.refuse(head, not_whole())
        await send_reply(send, method, closing(reply))
        raise ClientLeft from None
    return HttpRequest(method, path, headers, body, time.monotonic(), address, on_management=on_management)


async def send_reply(send: Send, method: str, reply: Reply) -> None:
    """Send a reply; the answer to a HEAD has the headers of its body, and no body."""
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        *((name.encode(), value.encode()) for name, value in reply.headers),
    ]
    start: Message = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})


def watch(scope: Scope, receive: Receive) -> Watch:
    """Return what tells of a client's leaving: the edge's own way, or for any other server a task that waits for it."""
    edge: Watch | None = scope.get("extensions", {}).get(LEAVING)
    if edge is not None:
        return edge

    def listen(leaves: Callable[[], None]) -> Callable[[], None]:
        async def until_disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            leaves()

        task = asyncio.create_task(until_disconnected())

        def unwatch() -> None:
            task.cancel()

        return unwatch

    return listen


def closing(reply: Reply) -> Reply:
    """Return the reply for a connection that cannot be used again: the rest of a body is left unread on it."""
    return Reply(reply.status, reply.body, reply.media_type, (*reply.headers, ("connection", "close")))


async def _body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    """Return the body; raise BodyTooLarge as soon as it is known to exceed the limit, ClientLeft if it breaks off."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise BodyTooLarge.at("body", expected=f"at most {limit} bytes", found=f"{declared:.20}")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge.at("body", expected=f"at most {limit} bytes", found="more")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _has_body(headers: dict[str, str]) -> bool:
    """Tell whether a body is still to come after the head."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _path(scope: Scope) -> str:
    """Return the path below the place where this application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
