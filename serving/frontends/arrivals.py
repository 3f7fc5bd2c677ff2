"""Answers from instance threads, brought to an event loop that is woken once per finished batch.

An instance resolves the futures of a whole batch in a row. Waking the loop for each of them would cost more than
computing a small model; so answers gather in a queue, and only the first one finds the loop asleep and wakes it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto

from serving.request import InferResponse


class Ending(Enum):
    """How waiting for an answer ended."""

    ANSWERED = auto()
    EXPIRED = auto()
    CLIENT_LEFT = auto()


Waiter = asyncio.Future[Ending]

#: Given a function to call, on the loop, when the client leaves; returns one that calls this off.
Watch = Callable[[Callable[[], None]], Callable[[], None]]


class Arrivals:
    """Lets coroutines of one event loop wait for the engine's futures."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[Waiter] = deque()
        self._woken = False

    async def wait(self, future: "Future[InferResponse]", deadline: float, watch: Watch) -> Ending:
        """Wait until the future is done, its deadline (monotonic) has passed, or the client has left."""
        waiter: Waiter = self._loop.create_future()
        future.add_done_callback(lambda _: self._arrive(waiter))
        timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), _settle, waiter, Ending.EXPIRED)
        unwatch = watch(lambda: _settle(waiter, Ending.CLIENT_LEFT))
        try:
            return await waiter
        finally:
            unwatch()
            timer.cancel()

    def _arrive(self, waiter: Waiter) -> None:
        """Run in whatever thread resolved the future."""
        self._arrived.append(waiter)
        # Two threads may both see False and wake the loop twice, which is harmless; that both see True is not possible
        # without a call of _deliver to come, which clears the flag *before* it looks into the queue.
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._arrived:
            _settle(self._arrived.popleft(), Ending.ANSWERED)


def _settle(waiter: Waiter, ending: Ending) -> None:
    if not waiter.done():
        waiter.set_result(ending)
