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
from gevent.event import Event
from gevent.ssl import SSLContext, create_default_context

from loadtests.bodies import Sample
from loadtests.plan import Plan
from loadtests.records import EXHAUSTED, Kind, Recorder

#: How often the generator looks whether it gets to run when it wants to, and how often it writes what it has.
_BEAT_SECONDS, _FLUSH_SECONDS = 0.05, 1.0

#: When for so long nothing but lost connections came back, and so many of them, the server is gone.
_GONE_SECONDS, _GONE_REQUESTS = 3.0, 20

#: A wrong answer may be longer than the right one, and an error has words: but not without bounds. As JSON a value takes
#: up to some 30 bytes, and white space is allowed.
_USUAL_BYTES, _VALUE_BYTES = 1 << 18, 64

_CHUNK = 4096


class Generator:
    """One process's part of the load."""

    def __init__(
        self, plan: Plan, samples: dict[str, list[Sample]], folder: Path | None, *, number: int = 0, workers: int = 1
    ) -> None:
        self.plan = plan
        self.recorder = Recorder(folder)
        #: This process's number, and how many of them there are.
        self.number, self.workers = number, workers
        #: Numbers the pacers of this process.
        self.pacers = itertools.count()
        self._samples = samples
        self._most_bytes = {model: max(map(_most_bytes, rows)) for model, rows in samples.items()}
        self._halted = Event()
        self._tls: SSLContext | None = None
        self._started: float | None = None
        self._offset = time.time() - time.monotonic()
        self._order = self._requests()
        self._answered = 0.0
        self._lost = 0
        self._tickers: list[gevent.Greenlet] = []

    def begin(self) -> float:
        """Start the clock, once; return when that was, by time.monotonic()."""
        if self._started is None:
            # What is there now stays: no collection walks through the samples again and again.
            gc.collect()
            gc.freeze()
            self._started = self._answered = time.monotonic()
            self.recorder.facts["started"] = self.epoch(self._started)
            self.recorder.flush()  # while there are descriptors, the files are opened
            self._tickers = [gevent.spawn(self._beat), gevent.spawn(self._flush)]
        return self._started

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked it to stop."""
        return bool(self._halted.is_set())

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

    def most_bytes(self, model: str) -> int:
        """Return how large the body of an answer of a model may be: many times what the expected ones are."""
        return self._most_bytes[model]

    def tls(self) -> SSLContext:
        """Return what all connections of this process trust: reading the certificates takes tens of milliseconds."""
        if self._tls is None:
            self._tls = create_default_context(cafile=self.plan.ca)
        return self._tls

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the end of the load, whichever comes first."""
        self._halted.wait(max(0.0, min(seconds, self.plan.profile.seconds - self.seconds)))

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
        if silent > _GONE_SECONDS and self._lost > _GONE_REQUESTS and not self.over:
            when = self._answered - self.begin()
            self.stop(
                f"the server is gone: no answer since {when:.1f} s after the start, and connections are refused or lost"
            )

    def stop(self, reason: str) -> None:
        """Send nothing more, and remember why."""
        self.halt()
        self.recorder.facts.setdefault("stopped", reason)

    def halt(self) -> None:
        """Send nothing more."""
        self._halted.set()

    def exhausted(self, error: OSError) -> None:
        """End the load where this machine has no more descriptors or ports: that is no fault of the server's."""
        facts = self.recorder.facts
        facts["never_sent"] = facts.get("never_sent", 0) + 1
        if not self.stopping:
            remedy = "`ulimit -n` more, fewer --users, or --processes"
            self.stop(f"{EXHAUSTED}: {error.strerror or error} ({remedy})")

    def close(self) -> None:
        """Write what there is."""
        gevent.killall(self._tickers)
        self.recorder.facts["closed"] = True
        self.recorder.flush()

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
            self.recorder.lags.append((self.epoch(wanted), max(0.0, time.monotonic() - wanted)))

    def _flush(self) -> None:
        while True:
            gevent.sleep(_FLUSH_SECONDS)
            self.recorder.flush()


def _from(samples: list[Sample], start: int) -> list[Sample]:
    start %= len(samples)
    return samples[start:] + samples[:start]


def _most_bytes(sample: Sample) -> int:
    values = sum(array.size for array in sample.outputs.values())
    texts = sum(len(str(text)) for array in sample.outputs.values() if array.dtype.kind == "O" for text in array.ravel())
    return _USUAL_BYTES + _VALUE_BYTES * (values + texts)
