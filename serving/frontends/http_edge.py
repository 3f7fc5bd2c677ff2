"""The HTTP edge: uvicorn's httptools protocol, with what a server in front of strangers needs besides.

- bytes that are not HTTP are answered as every other error is, `{"error": …}`, and in their turn
- a wish to upgrade to another protocol (Java's client has one for HTTP/2 by default) is passed over, as RFC 9110,
  section 7.8 allows. httptools takes what follows such a request for the other protocol: its body would be lost, or
  read as the next request
- an application can learn at once that its client has left, without a task per request that waits for it
- requests that wait for the answer to one before them are few: uvicorn reads on with every answer, some 5,000 requests at
  a time from a client that sends without end, and 8 seconds of that are a gigabyte
- an answer that comes before the request has been read to its end (413) reaches the client: the connection is closed
  on our side only, and what still comes is thrown away for a while. Closing it at once would reset it, and a reset
  discards the answer on the client's side (RFC 9112, section 9.6).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from serving.errors import MalformedRequest
from serving.protocols.route import error_reply

#: The ASGI scope's extension under which the edge offers to call a function when the client leaves.
LEAVING = "sameway.leaving"

#: Seconds for which a connection closed by us is still read: nginx's lingering_timeout is 5, which is enough for a
#: client that sends steadily to notice, and little enough for one that does not.
_LINGER_SECONDS = 5.0


class HttpEdge(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: uvicorn's own type for it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._on_leaving: Callable[[], None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._broken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        lingering = _Lingering(transport, self)
        super().connection_made(lingering)  # type: ignore[arg-type]
        self.flow = _Flow(lingering, self)  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {LEAVING: self._watch}  # type: ignore[dict-item]

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, or throw it away while lingering."""
        if self._lingering is not None or self._broken:
            return
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)
            except HttpParserError:
                self.send_400_response("")
                return
            else:
                return

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the request will be read again as one that asks for no other protocol."""
        if not self._upgrading():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        if not self._upgrading():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; after the last one before bytes that are not HTTP, say so."""
        super().on_response_complete()
        if self._broken and self.cycle.response_complete and not self.transport.is_closing():
            self._refuse()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection, and tell whoever still works for its client."""
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)
        if self._on_leaving is not None:
            self._on_leaving()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, and close, once the requests before them have been answered."""
        self._broken = True
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self._refuse()

    def _refuse(self) -> None:
        error = MalformedRequest("the bytes received are not an HTTP/1.1 request")
        reply = error_reply(error)
        head = (
            STATUS_LINE[reply.status]
            + b"content-type: " + reply.media_type.encode()
            + b"\r\ncontent-length: " + str(len(reply.body)).encode()
            + b"\r\nconnection: close\r\n\r\n"
        )  # fmt: skip
        self.transport.write(head + reply.body)
        self.transport.close()

    def linger(self, transport: asyncio.Transport) -> None:
        """Close our side of the connection; go on reading, and throwing away, for a while if the client still sends."""
        sending = self.cycle is not None and self.cycle.more_body
        if not sending or not transport.can_write_eof() or transport.is_closing():
            transport.close()
            return
        transport.write_eof()
        self.flow.resume_reading()
        self._lingering = self.loop.call_later(_LINGER_SECONDS, transport.close)

    def _upgrading(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        """Return the head of the request just read as bytes, without the wish for another protocol."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

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

    def __init__(self, transport: asyncio.Transport, edge: HttpEdge) -> None:
        super().__init__(transport)
        self._edge = edge

    def resume_reading(self) -> None:
        """Read on, unless requests wait already."""
        if not self._edge.pipeline:
            super().resume_reading()


class _Lingering:
    """A transport whose close() lets the protocol decide how: uvicorn closes in several places."""

    def __init__(self, transport: asyncio.Transport, edge: HttpEdge) -> None:
        self._transport = transport
        self._edge = edge
        self._closed = False
        # What is called for every request goes straight to the transport.
        self.write = transport.write
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def is_closing(self) -> bool:
        """Tell whether nothing more will be sent."""
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        """Send what has been written, then close."""
        if not self._closed:
            self._closed = True
            self._edge.linger(self._transport)
