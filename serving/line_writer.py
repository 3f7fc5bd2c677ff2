"""Lines written to a file descriptor by a thread, so that whoever has a line never waits for a disk, a pipe or a terminal.

What waits is bounded: where the reader is slower than the lines come, some are dropped and counted. A server that stands
still because nobody reads its log would be worse than a log with gaps.
"""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Lines that may wait: a second at 8,000 requests per second, 4 MiB at their longest usual length.
_MOST_WAITING = 8192
#: Seconds for which lines gather before they are written: the thread is woken 20 times per second, not once per line.
_GATHER_SECONDS = 0.05
#: Seconds that close() waits for a reader which does not read.
_CLOSE_SECONDS = 2.0


class LineWriter:
    """Writes lines, each whole: processes that share a pipe do not tear each other's apart."""

    def __init__(self, descriptor: int, *, dropped: Callable[[int], None] = lambda _: None) -> None:
        """`dropped` is told how many lines were not written, for want of room or because writing failed."""
        self._descriptor = descriptor
        self._dropped = dropped
        self._lines: deque[bytes] = deque()
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._failing = False
        # A daemon, so that a reader which does not read cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="line-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have a line written that ends with a newline. Thread-safe; returns at once."""
        if len(self._lines) >= _MOST_WAITING:
            self._dropped(1)
            return
        self._lines.append(line)
        if not self._woken.is_set():
            self._woken.set()

    def close(self) -> None:
        """Write what waits, as far as the reader takes it in time."""
        self._closing.set()
        self._woken.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._lines):
            self._woken.wait()
            self._closing.wait(_GATHER_SECONDS)
            # Cleared before the lines are taken: one that comes later sets it again.
            self._woken.clear()
            while self._lines:
                self._write(self._take())

    def _take(self) -> list[bytes]:
        """Return the next lines, as many as a pipe takes in one piece (POSIX: PIPE_BUF), one at least."""
        taken = [self._lines.popleft()]
        size = len(taken[0])
        while self._lines and (size := size + len(self._lines[0])) <= select.PIPE_BUF:
            taken.append(self._lines.popleft())
        return taken

    def _write(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._dropped(len(lines))
                if not self._failing:
                    log.error("event=access_log_failed error=%r", error.strerror)
                self._failing = True
                return
        self._failing = False
