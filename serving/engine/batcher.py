"""The batcher: the bounded waiting room of one served version.

Instances pull. While all of them are busy entries gather, and the next idle one takes as many as fit into one batch; so
batches grow with the load by themselves, and a quiet server delays nobody. Only entries of equal shape share a batch,
and they leave in the order in which they came.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future

from serving.errors import DeadlineExceeded, ModelNotReady, Overloaded
from serving.request import InferRequest, InferResponse

#: Weight of the newest batch in the measured service rate: half of the memory is younger than seven batches.
_RATE_WEIGHT = 0.1


class Entry:
    """One request in the waiting room.

    Its company must share `shape`; a smaller `priority` goes first; `deadline` is a time of time.monotonic.
    """

    __slots__ = ("deadline", "future", "line", "priority", "queued", "request", "rows")

    def __init__(self, request: InferRequest, *, rows: int, shape: Hashable, deadline: float, priority: int = 0) -> None:
        self.request = request
        self.rows = rows
        self.line = (priority, shape)
        self.priority = priority
        self.deadline = deadline
        self.queued = 0.0
        self.future: Future[InferResponse] = Future()


class Batcher:
    """Bounded waiting room of one served version. Thread-safe; `put` never blocks."""

    def __init__(self, *, batch_rows: int, queue_rows: int, delay_seconds: float = 0.0) -> None:
        self._batch_rows = batch_rows
        self._queue_rows = queue_rows
        self._delay_seconds = delay_seconds
        self._ready = threading.Condition(threading.Lock())
        # Priority and shape → entries in order of arrival; ordered dictionaries, because a client may leave from the middle.
        self._lines: dict[Hashable, OrderedDict[Entry, None]] = {}
        self._rows = 0
        self._closed = False
        self._rows_per_second = 0.0

    def rows(self) -> int:
        """Return the number of rows waiting."""
        return self._rows

    def put(self, entry: Entry) -> None:
        """Let an entry wait; raise Overloaded when it does not fit any more, ModelNotReady once closed."""
        entry.queued = time.monotonic()
        with self._ready:
            if self._closed:
                raise ModelNotReady("the model is being unloaded", retry_after_seconds=1)
            if self._rows + entry.rows > self._queue_rows:
                raise Overloaded(
                    f"the queue is full: {self._rows} of {self._queue_rows} rows wait",
                    retry_after_seconds=self._clears_in(),
                )
            self._rows += entry.rows
            self._lines.setdefault(entry.line, OrderedDict())[entry] = None
            self._ready.notify()
        entry.future.add_done_callback(lambda future: self.discard(entry) if future.cancelled() else None)

    def take(self) -> list[Entry] | None:
        """Block until a batch is due, then return it, oldest first. None: closed and empty.

        Entries whose deadline has passed get DeadlineExceeded and are in no batch.
        """
        while True:
            with self._ready:
                while (wait := self.due_in(time.monotonic())) is None or wait > 0:
                    if wait is None and self._closed:
                        return None
                    self._ready.wait(wait)
                taken = self._take_line()
                if self._rows:
                    self._ready.notify()  # what is left may be due for another idle instance
            now = time.monotonic()
            batch = [entry for entry in taken if entry.deadline > now]
            for entry in taken:
                if entry.deadline <= now and entry.future.set_running_or_notify_cancel():
                    entry.future.set_exception(DeadlineExceeded("the deadline passed while the request waited in the queue"))
            if batch:
                return batch

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a batch is due, 0 if one is; None while nobody waits. Changes nothing."""
        if not self._rows:
            return None
        if self._closed or not self._delay_seconds:
            return 0.0
        line = self._next_line()
        if sum(entry.rows for entry in line) >= self._batch_rows:
            return 0.0
        return max(0.0, next(iter(line)).queued + self._delay_seconds - now)

    def discard(self, entry: Entry) -> None:
        """Remove an entry that nobody waits for any more; its place is free at once."""
        with self._ready:
            line = self._lines.get(entry.line)
            if line is not None and entry in line:
                self._remove(line, entry)

    def finished(self, rows: int, seconds: float) -> None:
        """Tell how long a batch took; Retry-After is computed from it."""
        rate = rows / max(seconds, 1e-6)
        known = self._rows_per_second
        self._rows_per_second = rate if not known else known + _RATE_WEIGHT * (rate - known)

    def close(self) -> None:
        """Refuse new entries; those waiting are still taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def clear(self) -> list[Entry]:
        """Remove every entry and return them, oldest first in each line: nobody is there to take them."""
        with self._ready:
            entries = [entry for line in self._lines.values() for entry in line]
            self._lines.clear()
            self._rows = 0
        return entries

    def _next_line(self) -> OrderedDict[Entry, None]:
        """Return the line whose first entry goes first: by priority, then by the time it has waited."""
        if len(self._lines) == 1:
            return next(iter(self._lines.values()))
        return min(self._lines.values(), key=_precedence)

    def _take_line(self) -> list[Entry]:
        """Remove and return the oldest entry and its followers of equal shape, as many as fit into one batch."""
        line = self._next_line()
        taken: list[Entry] = []
        rows = 0
        while line:
            entry = next(iter(line))
            if taken and rows + entry.rows > self._batch_rows:
                break
            rows += entry.rows
            taken.append(entry)
            self._remove(line, entry)
        return taken

    def _remove(self, line: OrderedDict[Entry, None], entry: Entry) -> None:
        del line[entry]
        self._rows -= entry.rows
        if not line:
            del self._lines[entry.line]

    def _clears_in(self) -> int:
        """Return after how many whole seconds, at least one, the rows waiting now will have been served."""
        if not self._rows_per_second:
            return 1
        return max(1, math.ceil(self._rows / self._rows_per_second))


def _precedence(line: OrderedDict[Entry, None]) -> tuple[int, float]:
    first = next(iter(line))
    return first.priority, first.queued
