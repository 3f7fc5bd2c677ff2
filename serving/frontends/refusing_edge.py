"""The part of the HTTP edge that refuses: an error here is answered like every other, `{"error": …}`, and in its turn.

What is refused is the request that is being read, and the connection ends with it; requests that were read whole before it
have their answers first.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.errors import RequestTimeout, ServerBusy, ServingError
from serving.frontends.asgi import REFUSAL
from serving.frontends.deadlines import Deadlines
from serving.frontends.errand import Errand
from serving.frontends.errand_edge import ErrandEdge
from serving.frontends.framing import farewell
from serving.frontends.head import plain
from serving.frontends.shared import Process
from serving.protocols.ending import PROBES

#: How long a probe is waited for where there are more connections than there may be; and how long it may then take until it
#: is answered and has taken that, which under full load takes seconds.
PROBE_SECONDS, PROBED_SECONDS = 1.0, 5.0


def is_probe(method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether a head is one that is answered where there are more connections than there may be.

    A server that has many clients is not a broken one: whoever looks after it must not think so, and restart it. A body is
    not waited for.
    """
    path = url.partition(b"?")[0].decode("latin-1")
    body = any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
    return method in (b"GET", b"HEAD") and path in PROBES and not body


def too_many() -> ServerBusy:
    """Return what every other request hears on such a connection."""
    return ServerBusy("the server has as many connections as it may", retry_after_seconds=1)


class RefusingEdge(ErrandEdge):
    """An edge that can refuse what it reads."""

    #: Of a connection that has been made.
    _deadlines: Deadlines

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: uvicorn's own type for it
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        process: Process,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, process=process)
        self._held = process.held
        self._held_here = 0
        # Where the parser is: inside a request's head, or its body, or between two requests.
        self._in_head = self._in_body = False
        # Why the bytes are refused that the parser is reading, and the answer once it is its turn.
        self._refusal: ServingError | None = None
        self._farewell: bytes | None = None

    def _raise(self, error: ServingError) -> None:
        """Stop the parser from within a callback; `_parse` goes on from here."""
        self._refusal = error
        raise httptools.HttpParserError(str(error))

    def _refuse(self, error: ServingError) -> None:
        """Answer the request being read with an error and end the connection, after the answers that are due before."""
        self._deadlines.arrive(None)
        # Between two requests the list is that of the one before, and before the first there is none.
        headers = plain(self.headers or ()) if self._in_head or self._in_body else ()
        self._farewell = farewell(error, self._process.request_ids, headers)
        unfinished = self.cycle is not None and self._in_body and self.cycle.more_body
        if unfinished:
            self._abandon_unfinished(error)
        if self._answered():
            self._say_farewell()

    def _abandon_unfinished(self, error: ServingError) -> None:
        """Take the request whose body will never be whole away from the application, and tell it why."""
        waiting = [entry for entry in self.pipeline if entry[0] is self.cycle]
        if waiting:
            self.pipeline.remove(waiting[0])
            return
        if isinstance(self.cycle, Errand):
            self.cycle.leave(error)
            return
        if self.cycle.response_started:
            self._farewell = b""  # its answer has gone out already: nothing more may follow it
        extensions: Any = self.cycle.scope["extensions"]  # Any: what `on_message_begin` has made
        extensions[REFUSAL] = error
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _answered(self) -> bool:
        """Tell whether every request that was read whole has its answer."""
        active = self._active
        return not self.pipeline and (active is None or active.response_complete or active.disconnected)

    def _say_farewell(self) -> None:
        self._release()
        if self._farewell and not self.transport.is_closing():
            self.transport.write(self._farewell)
        self.transport.close()

    def _too_slow(self, part: str) -> None:
        if self.flow.read_paused:  # by us, as an answer is due before
            self._deadlines.arrive(self._deadlines.arriving)
            return
        self._refuse(RequestTimeout(f"the request's {part} did not arrive in time"))

    def _release(self) -> None:
        """Hold no bytes any more: every body received has been answered."""
        self._held.size -= self._held_here
        self._held_here = 0
