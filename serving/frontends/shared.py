"""What all connections of one process share: whether it is stopping, how many bytes of bodies it holds, request ids."""

from serving.errors import ServerBusy
from serving.limits import Limits
from serving.protocols.request_id import RequestIds


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
        self.stopping = False
        self.request_ids = RequestIds()
        self.held = Held(limits.bodies_bytes)
        #: The address of the listener for management, None where there is none.
        self.management: tuple[str, int] | None = None
