"""Opening versions, each within a time: a runtime may hang in a file that somebody made, and nothing can end its thread.

So each opening has a thread of its own, and one that takes too long is given up: the others go on, and if it ends after
all, what it has opened is closed. What it holds until then is the price.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from serving.engine.served import ServedVersion


class OpeningTooLong(Exception):
    """A version was not open in time."""


class Openings:
    """Runs openings, one at a time for each caller."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def run(self, opening: Callable[[], ServedVersion], name: str) -> ServedVersion:
        """Return what `opening` returns; raise what it raises, or OpeningTooLong."""
        opened: Future[ServedVersion] = Future()
        # A daemon, as an interpreter that ends must not wait for it.
        threading.Thread(target=_run, args=(opening, opened), name=name, daemon=True).start()
        try:
            return opened.result(self._seconds)
        except TimeoutError:
            if opened.done():  # it is `opening` that has raised it
                raise
        opened.add_done_callback(_close)
        raise OpeningTooLong(f"opening it takes more than {self._seconds:g} s, and is given up")


def _close(opened: "Future[ServedVersion]") -> None:
    if opened.exception() is None:
        opened.result().close(drain_seconds=0.0)


def _run(opening: Callable[[], ServedVersion], opened: "Future[ServedVersion]") -> None:
    try:
        opened.set_result(opening())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        opened.set_exception(error)
