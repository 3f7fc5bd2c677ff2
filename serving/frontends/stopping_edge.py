"""The part of the HTTP edge that stops: whoever may be about to ask is still listened to, and who has asked is answered.

A client that keeps its connection may send its next request at the very moment in which the server lets it go. And one that
has only just connected is about to ask, however little processor it has.
"""

import asyncio

from serving.frontends.errand import Errand
from serving.frontends.lingering import unread
from serving.frontends.refusing_edge import RefusingEdge
from serving.frontends.shared import not_whole

#: How long a silent connection is still read: several times the way between a client and its server; one that is new, from
#: its first moment, with TLS from the end of the handshake.
_FAREWELL_SECONDS, _FIRST_SECONDS = 0.1, 1.0
#: On a busy loop timers go before reading: so often what is there is let be read first. Empty lines may come without end.
_LOOKS = 10


class StoppingEdge(RefusingEdge):
    """An edge that can be told to stop."""

    #: When the connection began, on the loop's clock.
    _made = 0.0
    #: How many requests have begun.
    _messages = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, which a server that stops tells so."""
        super().connection_made(transport)
        self._made = self.loop.time()
        if self._process.closing:
            self.shutdown()

    def shutdown(self) -> None:
        """Learn that the server stops. A request may be on its way to a connection that is silent: it is not cut off yet."""
        if self.cycle is None or self.cycle.response_complete:
            left_seconds = 0.0 if self._messages else self._made + _FIRST_SECONDS - self.loop.time()
            self.loop.call_later(max(_FAREWELL_SECONDS, left_seconds), self._close_silent, _LOOKS)
        else:
            super().shutdown()

    def interrupt(self) -> None:
        """Learn that the server waits no longer for a request that is not whole; the others are told by who has them."""
        if self._in_head or (isinstance(self.cycle, Errand) and self._in_body):
            self._refuse(not_whole())

    def _close_silent(self, looks: int) -> None:
        """Close the connection unless a request has come meanwhile, or begins to: its answer closes it then."""
        if self._in_head or (self.cycle is not None and not self.cycle.response_complete):
            return
        if looks and unread(self.transport):
            self.loop.call_later(_FAREWELL_SECONDS / _LOOKS, self._close_silent, looks - 1)
            return
        self.transport.close()
