"""Admission: how long a request would wait, computed before it waits.

What batches took is fitted by a line, `seconds = fixed + per_row × rows`: what lone requests took says little about a full
batch, nor the other way round. From it, from the batches that run now and from the rows ahead follows when a newcomer's
batch will begin. Arithmetic only: the batcher owns the lock, the clock and the decision.

Where nothing is known the estimate is the hopeful one. A request that is let in wrongly is one that comes too late; the
next batch has then been measured. A request that is refused wrongly measures nothing, and could be so for ever.
"""

import math
from collections.abc import Iterable

#: Weight of the newest batch: half of the memory is younger than seven batches.
_WEIGHT = 0.1

#: One batch counts for at most so many times what was expected of it. A pause of the process is forgotten with the next
#: batches; a model that has really become slower raises the estimate by 1 + 0.1 × (8 - 1) a batch: tenfold in five.
_SURPRISE = 8.0

#: Seconds that are never a surprise: the scheduler's own noise. And without it, nothing could follow a batch of 0 s.
_NOISE_SECONDS = 0.001

#: How many times the mean lateness is kept in reserve. Delays have a long tail: where half of all batches are late, by an
#: exponentially distributed time, six means leave 1 in 40 late (four left 1 in 14). Without a
#: reserve every second would be: in an overload all that are let in are let in at the very limit.
_RESERVE = 6.0

#: Retry-After says no more than a day: a client that is told a century has met an error of ours.
_DAY = 86_400.0


class ServiceRate:
    """What batches of one version take, and how full they are while others wait. Its owner's lock guards it."""

    __slots__ = ("_covariance", "_fixed", "_late", "_per_row", "_rows", "_seconds", "_variance", "batches", "fill")

    def __init__(self, batch_rows: int) -> None:
        #: Rows of a batch that leaves others waiting: less than a batch may hold where requests of many rows or of
        #: several shapes do not fill it.
        self.fill = float(batch_rows)
        #: How many batches have been measured.
        self.batches = 0
        # Means of rows and seconds, the variance of rows, its covariance with seconds: all forget at the same rate.
        self._rows = self._seconds = self._variance = self._covariance = 0.0
        self._fixed = self._per_row = 0.0
        self._late = 0.0

    @property
    def known(self) -> bool:
        """Whether any batch has been measured."""
        return self.batches > 0

    @property
    def reserve_seconds(self) -> float:
        """How much later than estimated a batch may well end."""
        return _RESERVE * self._late

    def seconds(self, rows: float) -> float:
        """Return how long a batch of so many rows will take; 0 before anything was measured."""
        return self._fixed + self._per_row * rows

    def rows(self, seconds: float, *, most: int) -> int:
        """Return how many rows, of at most so many, a batch takes that long for; 0 if even one takes longer."""
        if self.seconds(most) <= seconds:
            return most
        if self.seconds(1.0) > seconds:
            return 0
        return max(1, int((seconds - self._fixed) / self._per_row))

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch how long batches take."""
        if self.known:
            seconds = min(seconds, max(_NOISE_SECONDS, _SURPRISE * self.seconds(rows)))
        self.batches += 1
        # At first all batches weigh the same: the very first must not count for half until the seventh.
        weight = max(_WEIGHT, 1 / self.batches)
        more_rows, more_seconds = rows - self._rows, seconds - self._seconds
        self._rows += weight * more_rows
        self._seconds += weight * more_seconds
        self._variance = (1 - weight) * (self._variance + weight * more_rows * more_rows)
        self._covariance = (1 - weight) * (self._covariance + weight * more_rows * more_seconds)
        # While all batches are of one size they say nothing about others: the slope stays as it was, at first 0, the
        # hopeful guess. A batch cannot get faster by a row, nor slower by more than its share.
        if self._variance > 1e-6 * self._rows:
            self._per_row = self._covariance / self._variance
        self._per_row = min(max(self._per_row, 0.0), self._seconds / self._rows)
        self._fixed = self._seconds - self._per_row * self._rows

    def observe_fill(self, rows: int) -> None:
        """Learn from a batch that left others waiting how full such batches are."""
        self.fill += _WEIGHT * (rows - self.fill)

    def observe_end(self, seconds_late: float) -> None:
        """Learn how much later than estimated a batch has ended; negative where it was earlier."""
        # Later than by a whole batch is a pause, or a change that the rate will follow: nothing to keep a reserve for.
        late = min(max(seconds_late, 0.0), max(_NOISE_SECONDS, self.seconds(self.fill)))
        self._late += _WEIGHT * (late - self._late)


def remaining(end: float, now: float) -> float:
    """Return how long a batch that should end at a time will still run.

    One that is late is expected to be late for as long again: nothing else is known of it, and a session that hangs must
    not look like one that is about to end.
    """
    return abs(end - now)


def starts_in(batches: int, busy: Iterable[float], seconds: float) -> float:
    """Return after how long the batch behind so many others begins.

    `busy` has for each instance how long it is still busy, `seconds` is what each batch takes. Instances take batches as
    they become free, so the earliest of them share the work; several are taken to be in step, which is the hopeful case.
    """
    free = sorted(busy)
    if len(free) <= 1:
        return (free[0] if free else 0.0) + batches * seconds
    total = 0.0
    start = math.inf
    for number, one in enumerate(free, start=1):
        if one >= start:  # this instance, and those after it, are free only when the batch has begun
            break
        total += one
        start = (total + (batches - number + 1) * seconds) / number
    return max(start, free[0])


def retry_after(seconds: float) -> int:
    """Return what Retry-After says for an overload that is over in so many seconds: whole ones, at least one."""
    return max(1, math.ceil(min(seconds, _DAY)))
