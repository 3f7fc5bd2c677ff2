"""Opening versions, each within a time: a runtime may hang in a file that somebody made, and nothing can end its thread.

So openings have a thread of their own, and one that takes too long is given up, its thread with it: the others go on in
another one, and if it ends after all, what it has opened is closed. What it holds until then is the price. As long as all
is well it is one thread for all: each new one would bring its own memory from the allocator.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar


class Closing(Protocol):
    """What is closed if it was opened too late."""

    def close(self, *, drain_seconds: float) -> object:
        """Free it."""
        ...


T = TypeVar("T", bound=Closing)
_Opening = tuple[Callable[[], Any], "Future[Any]"]  # Any: T, of which each line has its own
_Line = queue.SimpleQueue[_Opening | None]


class OpeningTooLong(Exception):
    """A version was not open in time."""


class Openings(Generic[T]):
    """Runs openings, one after the other. For one thread at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._line: _Line | None = None

    def run(self, opening: Callable[[], T]) -> T:
        """Return what `opening` returns; raise what it raises, or OpeningTooLong."""
        if self._line is None:
            self._line = queue.SimpleQueue()
            # A daemon, as an interpreter that ends must not wait for it.
            threading.Thread(target=_work, args=(self._line,), name="open", daemon=True).start()
        opened: Future[T] = Future()
        self._line.put((opening, opened))
        try:
            return opened.result(self._seconds)
        except TimeoutError:
            if opened.done():  # it is `opening` that has raised it
                raise
        self.stop()
        opened.add_done_callback(_close)
        raise OpeningTooLong(f"opening it takes more than {self._seconds:g} s, and is given up")

    def stop(self) -> None:
        """Let the thread end as soon as it can."""
        line, self._line = self._line, None
        if line is not None:
            line.put(None)


def _work(line: _Line) -> None:
    while (job := line.get()) is not None:
        opening, opened = job
        try:
            opened.set_result(opening())
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            opened.set_exception(error)
        # Nothing of a version may live on in this frame while it waits for the next one.
        del job, opening, opened


def _close(opened: "Future[Any]") -> None:  # Any: T
    if opened.exception() is None:
        opened.result().close(drain_seconds=0.0)
