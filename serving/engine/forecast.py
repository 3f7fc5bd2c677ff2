"""When the batches of one version that run now should end, and so when another could begin.

Batches are told apart by the thread that took them. Arithmetic, as in admission.py: the batcher owns the lock and the clock.
"""

import math

from serving.engine.admission import ServiceRate, remaining, starts_in


class Forecast:
    """What runs, and what batches take. Its owner's lock guards it; `now` is always a time of time.monotonic."""

    __slots__ = ("_ends", "_foretold", "_most", "rate")

    def __init__(self, batch_rows: int) -> None:
        self.rate = ServiceRate(batch_rows)
        self._most = batch_rows
        # By the thread that took it: when a batch that is being run should end, and when it would have ended if it had begun
        # as was expected when its oldest entry came.
        self._ends: dict[int, float] = {}
        self._foretold: dict[int, float] = {}

    @property
    def nothing_runs(self) -> bool:
        """Whether no batch is being run."""
        return not self._ends

    def begin(self, taker: int, rows: int, begins: float, now: float) -> None:
        """Note a batch of so many rows, which was expected to begin at `begins` when its oldest entry came."""
        seconds = self.rate.seconds(rows)
        self._ends[taker] = now + seconds
        # By the rows it has: those that joined the oldest later have delayed nothing that was promised to them.
        self._foretold[taker] = begins + seconds

    def begin_behind(self, taker: int, rows: int, now: float) -> None:
        """Note a batch that its taker runs after the one it has; `finished` of that one puts it into its place."""
        self._ends[-taker] = self._ends.get(taker, now) + self.rate.seconds(rows)

    def finished(self, taker: int, rows: int, seconds: float, now: float) -> None:
        """Learn from a batch that has ended, after so many seconds of its instance."""
        foretold = self._foretold.get(taker, math.inf)
        if foretold < math.inf:
            self.rate.observe_end(now - foretold)
        self.rate.observe(rows, seconds)
        # One that was taken behind it runs now.
        if (following := self._ends.pop(-taker, None)) is not None:
            self._ends[taker] = following
            self._foretold.pop(taker, None)

    def leave(self, taker: int) -> None:
        """Forget the batch that a thread ran."""
        self._ends.pop(taker, None)
        self._foretold.pop(taker, None)

    def starts_in(self, batches: int, *, idle: int, now: float) -> float:
        """Return after how long the batch behind so many others begins, with so many instances idle."""
        busy = [0.0] * idle
        busy += [remaining(end, now) for end in self._ends.values()]
        return starts_in(batches, busy, self.rate.seconds(self.rate.fill))

    def at_worst(self, waiting: int, now: float) -> float:
        """Return after how long a newcomer behind so many rows has its answer, by a sum that is quick and no less.

        As if one instance alone had to run all that waits, whatever its priority, in batches that take as long as full
        ones, once all that runs has ended, and then a batch for the newcomer.
        """
        rate = self.rate
        longest = 0.0
        for end in self._ends.values():
            longest = max(longest, remaining(end, now))
        batches = waiting / rate.fill + 2.0
        return longest + batches * rate.seconds(self._most) + rate.reserve_seconds
