"""Ctrl-C, SIGTERM and SIGHUP: the first ends what is going on and has the report written, a second one ends everything.

The first is remembered, and whoever does one thing after the other asks about it. Only where somebody waits, and nothing
can be lost, it raises KeyboardInterrupt: never while figures are read or a report is written. The processes that were
started are tied to this one (tied.py), and end with it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import FrameType

#: The exit code after any of them.
CODE = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """A handler of signals that remembers the first: `heard` is what it was and when, in words."""

    def __init__(self) -> None:
        self.heard: str | None = None
        self._listening = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if self.heard is not None:
            os._exit(CODE)
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.heard = f"interrupted by {name} at {datetime.now(UTC).isoformat(timespec='seconds')}"
        with contextlib.suppress(OSError):  # a terminal that has gone
            os.write(2, b"\nwhat is under way ends, and the report is written; once more ends at once\n")
        if self._listening:
            raise KeyboardInterrupt(self.heard)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for a signal within the block, and at once where there has been one before it."""
        if self.heard is not None:
            raise KeyboardInterrupt(self.heard)
        before, self._listening = self._listening, True
        try:
            yield
        finally:
            self._listening = before


@contextlib.contextmanager
def handled() -> Iterator[Interrupts]:
    """Handle signals until the block ends; those that we were started to ignore (nohup, a script's job) stay ignored."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        yield interrupts
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupts)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def current() -> Interrupts:
    """Return who handles signals now; one that will hear of none, where nobody of ours does."""
    for number in _SIGNALS:
        if isinstance(handler := signal.getsignal(number), Interrupts):
            return handler
    return Interrupts()
