"""The HTTP edge: uvicorn's httptools protocol, with what a server in front of strangers needs besides.

- Every deadline and every limit of a connection: headers, body, silence, a reader that does not read (deadlines.py);
  sizes and counts.
- Framing that two parsers could read differently is refused: no Host or two, any Transfer-Encoding but chunked (framing.py).
- An error here is answered like every other, and never before the answers of requests sent earlier (refusing_edge.py).
- A server that stops cuts nobody off who asks, or is about to (stopping_edge.py).
- A wish to upgrade to another protocol (Java's client has one for HTTP/2 by default) is passed over, as RFC 9110,
  section 7.8 allows. httptools takes what follows such a request for the other protocol: its body would be lost, or
  read as the next request.
- Requests that wait for the answer to one before them are few: uvicorn reads on with every answer, some 5,000 requests
  at a time from a client that sends without end, and 8 seconds of that are a gigabyte.
- An application can learn at once that its client has left, without a task per request that waits for it.
- Requests for models may have a lane in front of the application, without tasks and coroutines (errand.py, lane.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from serving.errors import MalformedRequest, ServerBusy, ServingError, UriTooLong
from serving.frontends.asgi import LEAVING, MANAGEMENT
from serving.frontends.deadlines import Deadlines
from serving.frontends.errand import Errand
from serving.frontends.framing import check_head, head_too_large, head_without_upgrade
from serving.frontends.head import plain
from serving.frontends.lingering import Lingering
from serving.frontends.refusing_edge import PROBE_SECONDS, PROBED_SECONDS, is_probe, too_many
from serving.frontends.shared import Process
from serving.frontends.stopping_edge import StoppingEdge
from serving.limits import Limits


class HttpEdge(StoppingEdge):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: uvicorn's own type for it
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        process: Process,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, process=process)
        self._limits = limits
        self._most_headers = limits.header_count
        self._on_leaving: Callable[[], None] | None = None
        #: Where there are more connections than there may be: until when this one may ask how the server is.
        self._surplus: asyncio.TimerHandle | None = None
        #: Bytes since the last of a body.
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; its first request must not take for ever."""
        # Less than 64 KiB unsent pauses no writing, and would hold a closed connection for ever.
        lingering = Lingering(transport, self.loop, self._reads_on, lambda: self._deadlines.write())
        super().connection_made(lingering)  # type: ignore[arg-type]
        self.flow = _Flow(lingering, self)
        self._deadlines = Deadlines(self.loop, self._limits, too_slow=self._too_slow, stuck=transport.abort)
        address = transport.get_extra_info("sockname") or ()  # nothing where the client has left already
        self._on_management = tuple(address[:2]) == self._process.management
        surplus = len(self.connections) - self._limits.connections
        if surplus > self._limits.connections:
            transport.abort()  # too many even to be told so
        elif surplus > 0:
            self._in_head = True  # the client is about to send a request, and shall see the answer to it
            self._surplus = self.loop.call_later(PROBE_SECONDS, self._refuse, too_many())
        else:
            self._deadlines.arrive((1, "headers"))

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection, and tell whoever still works for its client."""
        self._deadlines.arrive(None)
        if self._surplus is not None:
            self._surplus.cancel()
        if self._active is not None:
            self._active.disconnected = True  # uvicorn says so to the request that was read last, which may be another
        self.resume_writing()
        self._deadlines.written()
        self._release()
        super().connection_lost(exc)
        if isinstance(self._active, Errand):
            if not self._active.response_complete:
                self._active.leave()
        elif self._on_leaving is not None:
            self._on_leaving()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        if self.transport.is_closing() or self._farewell is not None:
            return
        self._head_bytes += len(data)
        self._parse(data)
        if self._whole is not None:
            self._begin_whole()
        if not self._in_head and not self._in_body and self._messages:
            # Nothing is arriving that could take too long, or be too much.
            if self._deadlines.arriving is not None:
                self._deadlines.arrive(None)
            return
        if self.transport.is_closing() or self._farewell is not None:
            return
        # Also of a body in chunks: what a chunk's line or a trailer says without end.
        if (self._in_head or self._in_body) and self._head_bytes > self._limits.header_bytes + self._limits.url_bytes:
            self._refuse(head_too_large(self._limits))
            return
        part = "headers" if self._in_head else "body" if self._in_body else None
        if part is None and self._messages == 0:
            return  # empty lines, which the parser passes over: no request has begun, and the first one's time goes on
        arriving = None if part is None else (self._messages, part)
        if arriving != self._deadlines.arriving:
            self._deadlines.arrive(arriving)

    def _parse(self, data: bytes) -> None:
        """Feed the parser, once more where a request asks for another protocol."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                head = head_without_upgrade(
                    self.parser.get_method(), self.url, self.parser.get_http_version(), plain(self.headers)
                )
                data = head + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self._refuse(self._refusal or MalformedRequest("the bytes received are not an HTTP/1.1 request"))
                return
            else:
                return

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._messages += 1

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            self._raise(UriTooLong.at("url", expected=f"at most {self._limits.url_bytes} bytes", found="more"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer: it comes when the head has been judged (RFC 9110, section 6.5.1)."""
        if self._in_body:
            return
        headers = self.headers
        headers.append((name, value))
        if len(headers) > self._most_headers:
            self._raise(head_too_large(self._limits))

    def on_headers_complete(self) -> None:
        """Judge the head of a request, and start the application on it."""
        if self._upgrading():
            return  # it will be read again, as one that asks for no other protocol
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        head = self._head
        # A client that keeps its connection mostly says the same again: what was found out then is true now.
        if head is not None and head.is_said(self.parser, self.url, self.headers):
            self._start_errand(head)
            return
        raw, self.headers = self.headers, plain(self.headers)
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )
        method = self.parser.get_method()
        if self._surplus is not None:
            self._surplus.cancel()
            if not is_probe(method, self.url, self.headers):
                self._raise(too_many())
            # Whoever does not take the answer is not to hold the place for longer either.
            self._surplus = self.loop.call_later(PROBED_SECONDS, self.transport.abort)
        try:
            check_head(method, self.parser.get_http_version(), self.headers, self._limits)
        except ServingError as error:
            self._raise(error)
        if method == b"POST" and self._process.lane is not None and (head := self._of_the_lane(raw)) is not None:
            self._head = head
            self._start_errand(head)
            return
        self._start_cycle()

    def _start_cycle(self) -> None:
        """Start the application on a request."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the scope
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        extensions: dict[str, Any] = {LEAVING: self._watch}  # Any: ASGI leaves what an extension holds to itself
        if self._on_management:
            extensions[MANAGEMENT] = {}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        if self._process.stopping or self._surplus is not None:
            # The answer says so, and the client sends its next request elsewhere instead of into a closed connection.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._head_bytes = 0
        try:
            self._held.add(len(body))
        except ServerBusy as error:
            self._raise(error)
        self._held_here += len(body)
        if isinstance(self.cycle, Errand):
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's bytes."""
        if self._upgrading():
            return
        self._in_body = False
        cycle = self.cycle
        if isinstance(cycle, Errand):
            cycle.more_body = False
            if cycle is self._active:
                self._whole = cycle
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer; go on with what was sent meanwhile, or say goodbye."""
        self._go_on()
        if not self.pipeline:
            self._release()
        if self._farewell is not None and self._answered():
            self._say_farewell()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not take its answer."""
        super().pause_writing()
        self._deadlines.write()

    def resume_writing(self) -> None:
        """The client has taken it."""
        self._deadlines.written()
        if self.transport.is_closing() and self.transport.has_unsent():  # type: ignore[attr-defined]  # it is Lingering
            self._deadlines.write()
        super().resume_writing()
        if isinstance(self._active, Errand):
            self._active.go_on()

    def _upgrading(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _reads_on(self) -> bool:
        """Tell whether the client is still sending a request when the connection is closed by us."""
        return self._in_head or self._in_body

    def _watch(self, leaves: Callable[[], None]) -> Callable[[], None]:
        """Call `leaves` when the client leaves; return a function that calls this off."""
        self._on_leaving = leaves
        # uvicorn stops reading while more than 64 KiB of a body wait to be taken, and only taking more begins it again. Who
        # does not read does not learn that the client has left.
        self.flow.resume_reading()
        if self.transport.is_closing():
            self.loop.call_soon(leaves)
        return self._unwatch

    def _unwatch(self) -> None:
        self._on_leaving = None


class _Flow(FlowControl):
    """Flow control that reads no further while whole requests wait for their turn."""

    def __init__(self, transport: Lingering, edge: HttpEdge) -> None:
        super().__init__(transport)  # type: ignore[arg-type]
        self._edge = edge

    def resume_reading(self) -> None:
        """Read on, unless requests wait already."""
        if not self._edge.pipeline:
            super().resume_reading()
