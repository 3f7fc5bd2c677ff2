"""When requests that are waited for expire: one timer for all of them.

A timer of the event loop per request costs more than most of them take, and hardly one ever fires. So requests are kept by
the hundredth of a second in which their time is over; one that has its answer is taken out again; and the timer is set for
the earliest that was there when it last fired.
"""

import asyncio
import time
from typing import Protocol

#: How exact it is: an expired request is told so at most so much later. A network is less exact.
_TICKS_PER_SECOND = 100


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """Its time has passed."""
        ...

    def interrupt(self) -> None:
        """The server stops."""
        ...


class Timeouts:
    """Expires what is added and not removed in time. All on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, dict[Expiring, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def add(self, one: Expiring, deadline: float) -> int:
        """Expire it after its deadline (monotonic); return what `remove` needs to know."""
        tick = int(deadline * _TICKS_PER_SECOND) + 1
        together = self._ticks.get(tick)
        if together is None:
            together = self._ticks[tick] = {}
            if self._timer is None or tick < self._timer_tick:
                self._set(tick)
        together[one] = None
        return tick

    def remove(self, one: Expiring, tick: int) -> None:
        """Expire it no more."""
        together = self._ticks.get(tick)
        if together is not None:
            together.pop(one, None)
            if not together:
                del self._ticks[tick]

    def interrupt(self) -> None:
        """Tell all that are there that the server stops."""
        for together in list(self._ticks.values()):
            for one in list(together):
                one.interrupt()

    def _set(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_later(max(0.0, tick / _TICKS_PER_SECOND - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = int(time.monotonic() * _TICKS_PER_SECOND)
        for tick in [tick for tick in self._ticks if tick <= now]:
            for one in list(self._ticks.get(tick, ())):
                one.expire()
            self._ticks.pop(tick, None)
        if self._ticks:
            self._set(min(self._ticks))
