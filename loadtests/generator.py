"""What one process of the generator knows: the plan, the samples, the clock, and whether it is time to stop.

Loaded in a process of its own only: Locust patches the standard library when it is imported (gevent).
"""

import gc
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import gevent

from loadtests.bodies import Sample
from loadtests.plan import Plan
from loadtests.records import Kind, Recorder

#: How often the generator looks whether it gets to run when it wants to, and how often it writes what it has.
_BEAT_SECONDS, _FLUSH_SECONDS = 0.05, 1.0

#: When for so long nothing but lost connections came back, and so many of them, the server is gone.
_GONE_SECONDS, _GONE_REQUESTS = 3.0, 20

_CHUNK = 4096


class Generator:
    """One process's part of the load."""

    def __init__(self, plan: Plan, samples: dict[str, list[Sample]], folder: Path | None, *, number: int = 0) -> None:
        self.plan = plan
        self.recorder = Recorder(folder)
        self.number = number
        self.stopping = False
        self._samples = samples
        self._started: float | None = None
        self._offset = time.time() - time.monotonic()
        self._order = self._requests()
        self._answered = 0.0
        self._lost = 0
        self._lags: list[tuple[float, float]] = []
        self._tickers: list[gevent.Greenlet] = []

    def begin(self) -> float:
        """Start the clock, once; return when that was, by time.monotonic()."""
        if self._started is None:
            # What is there now stays: no collection walks through the samples again and again.
            gc.collect()
            gc.freeze()
            self._started = self._answered = time.monotonic()
            self.recorder.facts["started"] = self.epoch(self._started)
            self._tickers = [gevent.spawn(self._beat), gevent.spawn(self._flush)]
        return self._started

    @property
    def seconds(self) -> float:
        """How long it has run; 0 before it began."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def over(self) -> bool:
        """Whether no more requests are to be sent."""
        return self.stopping or self.seconds >= self.plan.profile.seconds

    def next(self) -> tuple[int, Sample]:
        """Return what to send next: the number of a kind of traffic, and a sample. Neighbours get different ones."""
        return next(self._order)

    def samples(self, model: str) -> list[Sample]:
        """Return all samples of a model."""
        return self._samples[model]

    def epoch(self, moment: float) -> float:
        """Return a moment of time.monotonic() as seconds since the epoch, which other processes share."""
        return moment + self._offset

    def note(self, kind: Kind) -> None:
        """Notice when a server is gone: nothing but connections that are refused or lost. Then the load ends."""
        if kind != Kind.LOST:
            self._answered, self._lost = time.monotonic(), 0
            return
        self._lost += 1
        silent = time.monotonic() - self._answered
        if silent > _GONE_SECONDS and self._lost > _GONE_REQUESTS and not self.stopping:
            when = self._answered - self.begin()
            self.stop(
                f"the server is gone: no answer since {when:.1f} s after the start, and connections are refused or lost"
            )

    def stop(self, reason: str) -> None:
        """Send nothing more, and remember why."""
        self.stopping = True
        self.recorder.facts.setdefault("stopped", reason)

    def close(self) -> None:
        """Write what there is."""
        gevent.killall(self._tickers)
        self._write()

    def _requests(self) -> Iterator[tuple[int, Sample]]:
        """Yield kinds of traffic by their weights, and the samples of each in turn."""
        kinds = range(len(self.plan.traffic))
        chances = [traffic.weight for traffic in self.plan.traffic]
        # Each process begins elsewhere: the same sample in all of them at once would hide a swap.
        turns = [itertools.cycle(_from(self._samples[traffic.model], self.number * 7)) for traffic in self.plan.traffic]
        choice = random.Random(f"{self.plan.seed} {self.number}")  # noqa: S311 - a mixture, no secret
        while True:
            for kind in choice.choices(kinds, chances, k=_CHUNK):
                yield kind, next(turns[kind])

    def _beat(self) -> None:
        """Measure how much too late this process is woken: a generator that is starved measures itself."""
        while True:
            wanted = time.monotonic() + _BEAT_SECONDS
            gevent.sleep(_BEAT_SECONDS)
            self._lags.append((self.epoch(wanted), max(0.0, time.monotonic() - wanted)))

    def _flush(self) -> None:
        while True:
            gevent.sleep(_FLUSH_SECONDS)
            self._write()

    def _write(self) -> None:
        self.recorder.facts["lags"] = self._lags
        self.recorder.flush()


def _from(samples: list[Sample], start: int) -> list[Sample]:
    start %= len(samples)
    return samples[start:] + samples[:start]
