"""Answers from instance threads, brought to an event loop that is woken once per finished batch.

An instance gives the answers of a whole batch in a row. Waking the loop for each of them would cost more than
computing a small model; so answers gather in a queue, and only the first one finds the loop asleep and wakes it. Where the
loop's own thread computes a batch, because it is cheap, nobody need be woken at all.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto
from functools import partial
from typing import Any

from serving.engine.answer import Answer


class Ending(Enum):
    """How waiting for an answer ended."""

    ANSWERED = auto()
    EXPIRED = auto()
    CLIENT_LEFT = auto()


Waiter = asyncio.Future[Ending]

#: Given a function to call, on the loop, when the client leaves; returns one that calls this off.
Watch = Callable[[Callable[[], None]], Callable[[], None]]


class Arrivals:
    """Lets whoever runs on one event loop learn of the engine's answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = 0
        self._arrived: deque[Callable[[], object]] = deque()
        self._woken = False

    def arrive(self, tell: Callable[[], object]) -> None:
        """Call this on the loop, soon. From any thread."""
        self._arrived.append(tell)
        # Two threads may both see False and wake the loop twice, which is harmless; that both see True is not possible
        # without a call of _deliver to come, which clears the flag *before* it looks into the queue.
        if not self._woken:
            self._woken = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._deliver)  # it is awake; a thread would have to write to a pipe
            else:
                self._loop.call_soon_threadsafe(self._deliver)

    def lend(self, run: Callable[[], None]) -> None:
        """Run a batch on the loop, once it has read what has arrived by now: so the batch has all of it."""
        self._loop.call_soon(self._run, run)

    async def wait(self, answer: "Answer[Any] | Future[Any]", deadline: float, watch: Watch) -> Ending:
        """Wait until the answer is there, its deadline (monotonic) has passed, or the client has left."""
        waiter: Waiter = self._loop.create_future()
        answer.add_done_callback(lambda _: self.arrive(partial(_settle, waiter, Ending.ANSWERED)))
        timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), _settle, waiter, Ending.EXPIRED)
        unwatch = watch(lambda: _settle(waiter, Ending.CLIENT_LEFT))
        try:
            return await waiter
        finally:
            unwatch()
            timer.cancel()

    def _run(self, run: Callable[[], None]) -> None:
        # What arrives meanwhile is delivered below.
        self._woken = True
        try:
            run()
        finally:
            self._deliver()

    def _deliver(self) -> None:
        self._thread = threading.get_ident()
        self._woken = False
        while self._arrived:
            self._arrived.popleft()()


def _settle(waiter: Waiter, ending: Ending) -> None:
    if not waiter.done():
        waiter.set_result(ending)
