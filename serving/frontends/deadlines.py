"""The deadlines of one connection: for the part of a request that is arriving, and for an answer that is to be taken.

A timer is set when a part begins and not with every byte: a client that drips gains no time by it.
"""

import asyncio
from collections.abc import Callable

from serving.limits import Limits

#: The number of a request on its connection, and the part of it that is arriving: "headers" or "body".
Part = tuple[int, str]


class Deadlines:
    """Two timers on the event loop. `too_slow` is called with the part that took too long, `stuck` for an unread answer."""

    __slots__ = ("_limits", "_loop", "_reading", "_stuck", "_too_slow", "_writing", "arriving")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        *,
        too_slow: Callable[[str], None],
        stuck: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._too_slow = too_slow
        self._stuck = stuck
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        #: What the timer is set for; None: nothing is arriving that could take too long.
        self.arriving: Part | None = None

    def arrive(self, part: Part | None) -> None:
        """Give a part of a request its time from now on; None: there is none."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self.arriving = part
        if part is not None:
            seconds = self._limits.head_seconds if part[1] == "headers" else self._limits.body_seconds
            self._reading = self._loop.call_later(seconds, self._too_slow, part[1])

    def write(self) -> None:
        """Give the client its time to take what was written, unless it has one already."""
        if self._writing is None:
            self._writing = self._loop.call_later(self._limits.write_seconds, self._stuck)

    def written(self) -> None:
        """The client has taken it."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
