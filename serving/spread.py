"""Connections, spread evenly over the processes that take them from one listener.

The kernel gives a connection to whoever asks first, and the first one awake would take a whole burst. So each process says
in shared memory how many it has, and one that has more than another leaves what waits to that other for a moment.
"""

import time
from collections.abc import Callable

from serving.counters import Counters

#: So often a connection is left to others at most, each time for a millisecond or more: they look at once, unless they are
#: at something else. Not a time: where many processes want few cores, it would pass for all of them together.
_PATIENCE = 40
#: Where nobody else took one meanwhile, so long everything is taken: a burst must not wait for who hangs, one by one.
_IMPATIENT_SECONDS = 0.2
#: An event loop that has not run for so long hangs; it runs ten times a second where all is well.
_SILENT_SECONDS = 0.5
#: One more for each so many that the other has, so that thousands are not taken one by one in turns.
_SHARE = 16


class Spread:
    """What one process does about it, which may have so many connections at most. Belongs to its event loop."""

    def __init__(self, counters: Counters, number: int, *, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._most = most
        self._number = number
        self._clock = clock
        self._others = [other for other in range(counters.regions) if other != number]
        self._left = 0
        self._impatient_until = 0.0

    def say(self, connections: int | None) -> None:
        """Let the others know how many connections this process has; None: it takes no more."""
        self._counters.say_connections(self._number, connections, self._most)

    def takes(self, connections: int) -> bool:
        """Tell whether this process takes a connection that waits, when it has so many; else it looks again in a moment."""
        self.say(connections)
        now = self._clock()
        fewest = self._fewest(now)
        if now < self._impatient_until or fewest is None or connections <= fewest + fewest // _SHARE:
            self._left = 0
            return True
        self._left += 1
        if self._left <= _PATIENCE:
            return False
        self._left = 0
        self._impatient_until = now + _IMPATIENT_SECONDS
        return True

    def nobody_takes(self) -> bool:
        """Tell whether no process takes connections any more; each says so of itself before it asks."""
        return all(self._counters.connections(number) is None for number in (*self._others, self._number))

    def none_waits(self) -> None:
        """Know that what was left to others has been taken."""
        self._left = 0

    def _fewest(self, now: float) -> int | None:
        """Return the fewest connections that another process has which takes some and does not hang, None without one."""
        counters = self._counters
        found = None
        for other in self._others:
            has = counters.connections(other)
            if has is None or now - counters.heartbeat(other) > _SILENT_SECONDS:
                continue
            found = has if found is None else min(found, has)
        return found
