"""Sessions that are timed: each in a process of its own (`profile_child.py`), several of them taking turns.

They take turns because other work on the machine comes and goes: whatever it slows down, it slows down for all. A median
over turns is then the same for a quiet and for a restless machine, unless that is busy all the time.
"""

import functools
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np

from export import profile_child
from export.profile_child import Job, Message
from models.profiles import NOTABLE, Measurement, Throughput
from models.tensors import Signature

#: Shares of the time that an artifact is given: for single rows, and for all batch sizes together.
_LATENCY_SHARE, _THROUGHPUT_SHARE = 1 / 3, 2 / 3
#: Turns of each artifact, and calls in one at most: thousands show a p99, and more of them nothing else.
_LATENCY_TURNS, _THROUGHPUT_TURNS, _CALLS = 5, 3, 1000
#: So few calls have no p99: it would be their maximum.
_CALLS_OF_A_P99 = 100
#: Calls that are forgotten: runtimes allocate, and TorchScript compiles, in the first ones.
_WARM_UP_CALLS = 5
#: How long an artifact may take to open, or a batch to run; `serve` gives an opening as long.
_PATIENCE_SECONDS = 300.0


class NotMeasured(Exception):
    """An artifact could not be measured here; the message says why."""


class Timed:
    """One job's process, and what was measured in it. Ended by `ended`."""

    def __init__(self, job: Job, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self.job = job
        self.latencies: list[float] = []
        self.rates: dict[int, float] = {}
        #: Whether larger batches carry no more, or take too long to be tried.
        self.full = False
        self._taken: list[list[float]] = [[] for _ in range(job.instances)]
        self._process = process
        self._pipe = pipe

    def ready(self) -> None:
        """Wait until the artifact is open; raise NotMeasured."""
        self._hear()

    def run(self, rows: int, *, seconds: float, calls: int = _CALLS) -> list[list[float]]:
        """Return what calls of so many rows took, per instance, in seconds; raise NotMeasured."""
        return list(self._ask(rows=rows, seconds=seconds, calls=calls)["seconds"])

    def take_latency(self, rows: int, *, seconds: float) -> None:
        """Have a turn with single rows."""
        self.latencies.extend(*self.run(rows, seconds=seconds))

    def take(self, rows: int, *, seconds: float) -> None:
        """Have a turn with batches of so many rows, unless larger ones are of no use."""
        if self.full:
            return
        for taken, more in zip(self._taken, self.run(rows, seconds=seconds), strict=True):
            taken.extend(more)

    def settle(self, rows: int, *, longest_seconds: float) -> None:
        """Note what the turns with this batch size have shown, and whether to try a larger one."""
        if self.full:
            return
        medians = [float(np.median(taken)) for taken in self._taken]
        self._taken = [[] for _ in self._taken]
        self.rates[rows] = sum(max(1, rows) / median for median in medians)
        # One size that was disturbed must not end it: two in a row have to carry no more than those before.
        *before, last, now = [0.0, 0.0, *self.rates.values()]
        grew = max(last, now) > max(before) * (1 + NOTABLE)
        self.full = not grew or 2 * max(medians) * _THROUGHPUT_TURNS > longest_seconds

    def measurement(self, signature: Signature) -> Measurement:
        """Return all of it, with the memory for the largest batch; raise NotMeasured."""
        if signature.max_batch_size not in self.rates:
            self.run(signature.max_batch_size, seconds=0.0, calls=1)  # as the replay does wherever it is served
        memory = self._ask(memory=True)
        p99 = float(np.percentile(self.latencies, 99)) if len(self.latencies) >= _CALLS_OF_A_P99 else None
        return Measurement(
            threads=self.job.threads,
            calls=len(self.latencies),
            p50_seconds=float(np.median(self.latencies)),
            p99_seconds=p99,
            throughput=tuple(Throughput(rows, rate) for rows, rate in self.rates.items()),
            peak_bytes=memory["peak_bytes"],
            session_bytes=memory["session_bytes"],
        )

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _ask(self, **command: object) -> Message:
        try:
            self._pipe.send_bytes(json.dumps(command).encode())
        except OSError:
            raise NotMeasured(self._death()) from None
        return self._hear()

    def _hear(self) -> Message:
        if not self._pipe.poll(_PATIENCE_SECONDS):
            raise NotMeasured(f"no answer for {_PATIENCE_SECONDS:g} s")
        try:
            message: Message = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise NotMeasured(self._death()) from None
        if "error" in message:
            raise NotMeasured(message["error"])
        return message

    def _death(self) -> str:
        self._process.join(_PATIENCE_SECONDS)
        return f"its process ended with {self._process.exitcode}"


@contextmanager
def started(jobs: Sequence[Job]) -> Iterator[list[Timed]]:
    """Start a process for each job, all at once; end them afterwards."""
    # Spawned: a copy of this process would bring our threads' locks, and our memory.
    context = multiprocessing.get_context("spawn")
    timed: list[Timed] = []
    try:
        for job in jobs:
            ours, theirs = context.Pipe()
            process = context.Process(target=profile_child.main, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            timed.append(Timed(job, process, ours))
        yield timed
    finally:
        for one in timed:
            one.end()


def in_turns(
    timed: Sequence[Timed], signature: Signature, *, seconds: float
) -> tuple[dict[str, Measurement], dict[str, str]]:
    """Measure each for about so many seconds; return measurements, and why others could not be measured, by format."""
    failed: dict[str, str] = {}

    def each(act: Callable[[Timed], object]) -> None:
        for one in timed:
            try:
                if one.job.format not in failed:
                    act(one)
            except NotMeasured as error:
                failed[one.job.format] = str(error)

    single = 1 if signature.batched else 0
    turn = seconds * _LATENCY_SHARE / _LATENCY_TURNS
    each(Timed.ready)
    each(lambda one: one.run(single, seconds=turn, calls=_WARM_UP_CALLS))
    for _ in range(_LATENCY_TURNS):
        each(lambda one: one.take_latency(single, seconds=turn))
    sizes = batch_sizes(signature.max_batch_size)
    batch_turn = seconds * _THROUGHPUT_SHARE / _THROUGHPUT_TURNS / len(sizes)
    for rows in sizes:
        for _ in range(_THROUGHPUT_TURNS):
            each(functools.partial(Timed.take, rows=rows, seconds=batch_turn))
        each(functools.partial(Timed.settle, rows=rows, longest_seconds=seconds))
    measured: dict[str, Measurement] = {}
    each(lambda one: measured.update({one.job.format: one.measurement(signature)}))
    return measured, failed


def batch_sizes(most: int) -> list[int]:
    """Return 1, 2, 4, … and the largest; 0 alone for a model without a batch axis."""
    if most == 0:
        return [0]
    return [*(1 << power for power in range((most - 1).bit_length())), most]
