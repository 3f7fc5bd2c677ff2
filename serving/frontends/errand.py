"""One request for a model, read and answered by the edge itself, without ASGI in between.

uvicorn hands a request to an application through a task, two coroutines and a dictionary per message. That costs more than
a small model computes. An errand stands in for uvicorn's cycle of such a request: it has the names that uvicorn and the
edge look at, so that the order of answers, pipelining and all deadlines stay the edge's own. What is done with the request
is the lane's business (lane.py).
"""

from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serving.frontends.wsgi import Environ, environ_of_head
from serving.protocols.route import HttpRequest, Reply

if TYPE_CHECKING:
    from serving.errors import ServingError
    from serving.frontends.errand_edge import ErrandEdge
    from serving.frontends.head import Head


class Lane(Protocol):
    """Takes whole requests and answers them later. Everything here happens on the event loop."""

    def takes(self, head: HttpRequest, *, length: int) -> bool:
        """Tell whether a request with this head, and so many bytes to follow, is one for the lane; else it is for ASGI."""
        ...

    def begin(self, errand: "Errand") -> None:
        """Begin with a request that is whole; `errand.answer` ends it, now or later."""
        ...

    def broken_off(self, head: HttpRequest, error: "ServingError | None") -> None:
        """Count a request that was never begun with: for an error of the edge's or, None, as the client has left."""
        ...

    async def interrupt(self) -> None:
        """Answer everybody who still waits with an error: the server stops."""
        ...


class Waiter(Protocol):
    """Whoever waits for an errand's answer."""

    def abandon(self) -> None:
        """The client has left."""
        ...

    def interrupt(self) -> None:
        """The server stops, and waits no longer: answer the errand with an error."""
        ...


class _Silent:
    """Stands in for the event that uvicorn sets to wake an application: nobody waits for it here."""

    __slots__ = ()

    def set(self) -> None:
        """Wake nobody."""


_SILENT = _Silent()

#: Pieces below this are put together: each takes some 40 bytes by itself, and whoever sends single bytes would have
#: us hold forty times as much.
_LARGE_BYTES = 1024


class Errand:
    """A request in the lane, from the end of its head to the end of its answer."""

    __slots__ = (
        "_chunks", "_edge", "_head", "_lane", "_unsent", "disconnected", "keep_alive", "message_event", "more_body",
        "request", "response_complete", "response_started", "waiter",
    )  # fmt: skip

    def __init__(self, edge: "ErrandEdge", lane: Lane, head: "Head", *, request: HttpRequest, keep_alive: bool) -> None:
        self._edge = edge
        self._lane = lane
        self._head = head
        self.request: HttpRequest | None = request
        self._chunks: list[bytes | bytearray] = []
        self._unsent: Reply | None = None
        #: Set by the lane, while there is something to wait for.
        self.waiter: Waiter | None = None
        # Under the names that uvicorn looks at.
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = _SILENT

    def add(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        chunks = self._chunks
        if len(chunk) >= _LARGE_BYTES or not chunks:
            chunks.append(chunk)
        elif isinstance(last := chunks[-1], bytearray):
            last += chunk
        else:
            chunks.append(bytearray(chunk))

    def begin(self, now: float) -> None:
        """Begin with the request, which is whole."""
        request = self.request
        if request is None or self.disconnected:
            return
        chunks, self._chunks = self._chunks, []
        # The first piece is as it came.
        request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)  # type: ignore[assignment]
        request.received = now
        self._lane.begin(self)

    def answer(self, reply: Reply) -> None:
        """Send the answer, as soon as the client takes what was sent before."""
        if self.disconnected or self.response_complete:
            return
        edge = self._edge
        self.request = self.waiter = None
        if edge.flow.write_paused:
            self._unsent = reply
            return
        self.response_started = self.response_complete = True
        head = f"content-type: {reply.media_type}\r\ncontent-length: {len(reply.body)}\r\n"
        for name, value in reply.headers:
            head += f"{name}: {value}\r\n"
        if not self.keep_alive:
            head += "connection: close\r\n"
        lines = (STATUS_LINE[reply.status], edge.default_lines(), head.encode("latin-1"), b"\r\n", reply.body)
        edge.transport.write(b"".join(lines))
        if not self.keep_alive:
            edge.transport.close()
        edge.on_response_complete()

    def environ(self) -> Environ:
        """Return what WSGI asks for of the head; it is the head's own, and not to be changed."""
        head, edge = self._head, self._edge
        if head.environ is None and self.request is not None:
            head.environ = environ_of_head(edge.server, edge.client, edge.scheme or "http", self.request)
            head.environ["QUERY_STRING"] = head.url.partition(b"?")[2].decode("latin-1")
        return head.environ or {}

    def go_on(self) -> None:
        """The client takes answers again."""
        reply, self._unsent = self._unsent, None
        if reply is not None:
            self.answer(reply)

    def leave(self, error: "ServingError | None" = None) -> None:
        """End without an answer: the client has left, or its request will never be whole, for this error."""
        self.disconnected = True
        request, self.request = self.request, None
        waiter, self.waiter = self.waiter, None
        self._chunks = []
        if waiter is not None:
            waiter.abandon()
        elif request is not None:
            self._lane.broken_off(request, error)
