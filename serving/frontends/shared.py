"""What all connections of one process share: whether it is stopping, how many bytes of bodies it holds, request ids."""

from collections.abc import Sequence

from serving.errors import ModelNotReady, ServerBusy
from serving.frontends.errand import Lane
from serving.limits import Limits
from serving.protocols.request_id import RequestIds


def not_whole() -> ModelNotReady:
    """Return what a request is told of which a part is still to come when the server waits no longer."""
    return ModelNotReady("the server stops, and the request had not come to its end", retry_after_seconds=1)


class Held:
    """The bytes of request bodies that one process holds, so that many connections together stay below a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0

    def add(self, size: int) -> None:
        """Hold so many bytes more; raise ServerBusy where that is too many."""
        if self.size + size > self._limit:
            raise ServerBusy("the server holds as many request bodies as it may", retry_after_seconds=1)
        self.size += size


class Process:
    """The state of one process that its connections look at. All of it belongs to the event loop."""

    def __init__(self, limits: Limits) -> None:
        #: A stop has begun, by a signal; and, when load balancers have had their time, connections are let go.
        self.stopping = self.closing = False
        self.request_ids = RequestIds()
        self.held = Held(limits.bodies_bytes)
        #: The address of the listener for management, None where there is none.
        self.management: tuple[str, int] | None = None
        #: Who takes requests for models in front of the application, None where nobody does.
        self.lane: Lane | None = None
        self._defaults: Sequence[tuple[bytes, bytes]] = ()
        self._lines = b""

    def lines_of(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return headers as lines; the server makes a new list of them every second, with the date."""
        if headers is not self._defaults:
            self._defaults = headers
            self._lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return self._lines
