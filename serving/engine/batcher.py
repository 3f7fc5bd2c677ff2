"""The batcher: the bounded waiting room of one served version.

Instances pull. While all of them are busy entries gather, and the next idle one takes as many as fit into one batch; so
batches grow with the load by themselves, and a quiet server delays nobody. Only entries of equal shape share a batch,
and they leave in the order in which they came. Who could not be answered in time is not let in (see admission.py).
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from functools import partial

from serving.engine.admission import retry_after
from serving.engine.entry import Entry, expire
from serving.engine.forecast import Forecast
from serving.errors import DeadlineExceeded, ModelNotReady, Overloaded

#: So many batches must have been measured before a version is known to be cheap: the first ones of a process are slow.
_KNOWN_BATCHES = 16


class Batcher:
    """Bounded waiting room of one served version. Thread-safe; `put` never blocks."""

    def __init__(self, *, batch_rows: int, queue_rows: int, delay_seconds: float = 0.0) -> None:
        self._batch_rows = batch_rows
        self._queue_rows = queue_rows
        self._delay_seconds = delay_seconds
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        # Priority and shape → entries in order of arrival; ordered dictionaries, because a client may leave from the middle.
        self._lines: dict[Hashable, OrderedDict[Entry, None]] = {}
        self._rows = 0
        #: Rows waiting per priority.
        self._levels: dict[int, int] = {}
        self._closed = False
        self._forecast = Forecast(batch_rows)
        self._rate = self._forecast.rate
        #: Instances that wait for a batch.
        self._idle = 0

    def rows(self) -> int:
        """Return the number of rows waiting."""
        return self._rows

    def put(self, entry: Entry, *, wake: bool = True) -> None:
        """Let an entry wait; raise Overloaded where it does not fit or would come too late, ModelNotReady once closed.

        An entry whose time is already over gets DeadlineExceeded: no load is to blame for it, and to wait would not help.
        `wake` False: no instance is woken for it, as the caller is going to `take_now`.
        """
        entry.queued = now = time.monotonic()
        if entry.deadline <= now:
            raise DeadlineExceeded("the deadline had passed before the request could wait for an instance")
        with self._lock:
            if self._closed:
                raise ModelNotReady("the model is being unloaded", retry_after_seconds=1)
            if self._rows + entry.rows > self._queue_rows:
                batches = math.ceil(self._rows / self._rate.fill)
                raise Overloaded(
                    f"the queue is full: {self._rows} of {self._queue_rows} rows wait",
                    retry_after_seconds=retry_after(self._forecast.starts_in(batches, idle=self._idle, now=now)),
                )
            self._admit(entry, now)
            self._rows += entry.rows
            self._levels[entry.priority] = self._levels.get(entry.priority, 0) + entry.rows
            line = self._lines.get(entry.line)
            if line is None:
                line = self._lines[entry.line] = OrderedDict()
            line[entry] = None
            # Who gives it up while it waits gives its place to others.
            entry.future.on_cancel = partial(self.discard, entry)
            if wake and self._idle:
                self._ready.notify()
        if entry.future.cancelled():  # before it had a place to give up
            self.discard(entry)

    def take(self) -> list[Entry] | None:
        """Block until a batch is due, then return it, oldest first. None: closed and empty.

        Entries whose deadline has passed get DeadlineExceeded and are in no batch. A thread that comes again has finished
        the batch it took before.
        """
        taker = threading.get_ident()
        while True:
            with self._ready:
                self._forecast.leave(taker)
                while (wait := self.due_in(time.monotonic())) is None or wait > 0:
                    if wait is None and self._closed:
                        return None
                    self._idle += 1
                    self._ready.wait(wait)
                    self._idle -= 1
                now = time.monotonic()
                batch, expired = self._take_line(now)
                if batch:
                    self._begin(batch, taker, now)
                if self._rows:
                    self._ready.notify()  # what is left may be due for another idle instance
            expire(expired)
            if batch:
                return batch

    def take_full(self) -> list[Entry]:
        """Return a batch as `take` does, an empty one where none is full; never wait. The one taken before goes on."""
        expired: list[Entry] = []
        batch: list[Entry] = []
        taker = threading.get_ident()
        with self._lock:
            now = time.monotonic()
            if self.due_in(now) == 0 and sum(entry.rows for entry in self._next_line(now)) >= self._batch_rows:
                batch, expired = self._take_line(now)
            if batch:
                self._forecast.begin_behind(taker, sum(entry.rows for entry in batch), now)
        expire(expired)
        return batch

    def take_now(self) -> list[Entry]:
        """Return a batch as `take` does, an empty one where none is due; never wait. `leave` must follow."""
        expired: list[Entry] = []
        batch: list[Entry] = []
        with self._lock:
            now = time.monotonic()
            if self.due_in(now) == 0:
                batch, expired = self._take_line(now)
                if batch:
                    self._begin(batch, threading.get_ident(), now)
        expire(expired)
        return batch

    def leave(self) -> bool:
        """End what `take_now` began; tell whether anybody waits."""
        taker = threading.get_ident()
        with self._lock:
            self._forecast.leave(taker)
            return self._rows > 0

    def wake(self) -> None:
        """Wake an instance for what waits."""
        with self._lock:
            self._ready.notify()

    def rows_within(self, seconds: float) -> int:
        """Return how many rows a batch takes so long for at most: 0 if somebody waits already, or too little is known."""
        rate = self._rate
        if self._rows or self._closed or self._delay_seconds or rate.batches < _KNOWN_BATCHES:
            return 0
        return rate.rows(seconds, most=self._batch_rows)

    def ran(self, rows: int, seconds: float) -> None:
        """Tell how long a batch took that nobody took from here."""
        with self._lock:
            self._rate.observe(rows, seconds)

    def expected_seconds(self, rows: int) -> float:
        """Return how long a batch of all that waits and so many rows more will take, infinite while too little is known."""
        rate = self._rate
        if rate.batches < _KNOWN_BATCHES or self._delay_seconds:
            return math.inf
        return rate.seconds(min(self._rows + rows, self._batch_rows))

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a batch is due, 0 if one is; None while nobody waits. Changes nothing."""
        if not self._rows:
            return None
        if self._closed or not self._delay_seconds:
            return 0.0
        return min(self._line_due_in(line, now) for line in self._lines.values())

    def discard(self, entry: Entry) -> None:
        """Remove an entry that nobody waits for any more; its place is free at once."""
        with self._ready:
            line = self._lines.get(entry.line)
            if line is not None and entry in line:
                self._remove(line, entry)

    def finished(self, rows: int, seconds: float) -> None:
        """Tell how long a batch has kept its instance, which calls this; admission and Retry-After are computed from it."""
        with self._ready:
            self._forecast.finished(threading.get_ident(), rows, seconds, time.monotonic())

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
            self._levels.clear()
            self._rows = 0
        return entries

    def _line_due_in(self, line: OrderedDict[Entry, None], now: float) -> float:
        """Return the seconds until a line's first batch is due: it is full, or its first entry has waited long enough."""
        if self._closed or not self._delay_seconds or sum(entry.rows for entry in line) >= self._batch_rows:
            return 0.0
        return max(0.0, next(iter(line)).queued + self._delay_seconds - now)

    def _next_line(self, now: float) -> OrderedDict[Entry, None]:
        """Return the line whose first entry goes first: of those due by priority, then by the time it has waited."""
        if len(self._lines) == 1:
            return next(iter(self._lines.values()))
        if not self._delay_seconds:
            return min(self._lines.values(), key=_precedence)
        return min((line for line in self._lines.values() if not self._line_due_in(line, now)), key=_precedence)

    def _take_line(self, now: float) -> tuple[list[Entry], list[Entry]]:
        """Remove and return the oldest entry and its followers of equal shape, as many as fit into one batch.

        Those among them whose deadline has passed are returned apart, and take nobody's place in the batch.
        """
        line = self._next_line(now)
        taken: list[Entry] = []
        expired: list[Entry] = []
        rows = 0
        while line:
            entry = next(iter(line))
            if entry.deadline <= now:
                expired.append(entry)
            elif taken and rows + entry.rows > self._batch_rows:
                break
            else:
                rows += entry.rows
                taken.append(entry)
            self._remove(line, entry)
        return taken, expired

    def _remove(self, line: OrderedDict[Entry, None], entry: Entry) -> None:
        del line[entry]
        self._rows -= entry.rows
        self._levels[entry.priority] -= entry.rows
        if not line:
            del self._lines[entry.line]

    def _begin(self, batch: list[Entry], taker: int, now: float) -> None:
        """Note when a batch should end, and when it should have ended by what was expected of its oldest entry."""
        rows = sum(entry.rows for entry in batch)
        if self._rows:
            self._rate.observe_fill(rows)
        self._forecast.begin(taker, rows, batch[0].begins, now)

    def _admit(self, entry: Entry, now: float) -> None:
        """Raise Overloaded unless the entry can be answered by its deadline; who finds an instance free always can."""
        rate = self._rate
        if not rate.known:
            return
        if not self._rows and (self._idle or self._forecast.nothing_runs):
            entry.begins = now + self._delay_seconds
            return
        # The usual case: so much time that it need not be estimated how much it takes.
        if self._forecast.at_worst(self._rows, now) + self._delay_seconds <= entry.deadline - now:
            return
        # Those of a worse priority wait for this one. Levels stay once they were used; there are at most a hundred.
        levels = self._levels
        only = len(levels) == 1 and entry.priority in levels
        ahead = self._rows if only else sum(rows for level, rows in levels.items() if level <= entry.priority)
        batches = int(ahead / rate.fill)
        begins = self._forecast.starts_in(batches, idle=self._idle, now=now)
        if batches:
            # By the time a whole batch has gone before it, its own will be full too.
            own = rate.seconds(rate.fill)
        else:
            begins = max(begins, self._delay_seconds)
            own = rate.seconds(min(ahead + entry.rows, self._batch_rows))
        takes, left = begins + own + rate.reserve_seconds, entry.deadline - now
        if takes > left and batches >= self._idle:
            raise Overloaded(
                f"the queue is too long: an answer would take {takes:.3f} s, and the request has {left:.3f} s left",
                retry_after_seconds=retry_after(takes - left),
            )
        entry.begins = now + begins


def _precedence(line: OrderedDict[Entry, None]) -> tuple[int, float]:
    first = next(iter(line))
    return first.priority, first.queued
