"""Who is measured when: all sides run, all but one stand still, and take turns within every round.

A machine's speed drifts by more than servers differ, so what is compared has to be measured within seconds of each other.
Starting each server for its turn would put half a minute between them. Left running beside the others they would disturb,
for some poll while they wait: LitServe takes up to a whole core. So each is stopped with SIGSTOP outside its turn, once it
has finished what it was doing: it keeps its memory and connections, and uses nothing. After SIGCONT it has to answer rightly
once before it is measured; watchdogs that look at the clock find that their workers answer, for those go on first.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from loadtests.benchmark import raw, wrk
from loadtests.benchmark.figures import RAW_FAMILY, RAW_ONE, RAW_TWO, Figures, Footprint
from loadtests.benchmark.model import publish
from loadtests.benchmark.process import Running, running
from loadtests.benchmark.raw import Raw, RawSessions
from loadtests.benchmark.session import images, open_session, run
from loadtests.benchmark.side import FRAMEWORK, Absent, CannotRun, Exchange, Side
from loadtests.benchmark.work import Work
from models.tensors import Array

T = TypeVar("T")

#: Of load before a server is measured at a kind of work for the first time: connections and the first batches are behind it.
_WARM_UP_SECONDS = 1
#: Connections of the load after its start, enough that every worker has had some.
_FIRST_CONNECTIONS = 16
#: How long the last of its workers may take longer than the first.
_FIRST_SECONDS, _LOOK_SECONDS = 30.0, 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, how long and how often."""

    works: tuple[Work, ...]
    rounds: int
    seconds: int
    idle_seconds: float
    raw_seconds: float


@dataclass(slots=True)
class Measured:
    """What has been found so far."""

    rounds: list[Figures] = field(default_factory=list)
    footprints: dict[tuple[str, str], Footprint] = field(default_factory=dict)  # by side and model
    raw: list[Raw] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # of those absent, what is not a framework's own affair


class Turns:
    """Measures sides around one model after the other."""

    def __init__(self, plan: Plan, *, folder: Path, generator: str, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._generator = generator
        self._tell = tell
        self.measured = Measured()
        self._alone: list[tuple[Work, int, Raw]] = []

    def measure(self, model: str, sides: Sequence[Side]) -> None:
        """Measure them at all the work there is with a model; one that fails is left out from then on."""
        works = [work for work in self._plan.works if work.model == model]
        if not works:
            return
        published = publish(self._folder, model)
        session = open_session(published.file)
        expected = {rows: run(session, images(rows)) for rows in {1, *(work.rows for work in works)}}
        with contextlib.ExitStack() as stack:
            servers: list[_Server] = []
            for side in sides:
                with self._left_out(side, None):
                    server = _Server(stack.enter_context(running(side, published, images(1))), expected)
                    self._begin(model, server)
                    servers.append(server)
            alone = (
                stack.enter_context(raw.opened(model, published.file)) if any(work.beside_raw for work in works) else None
            )
            for number in range(self._plan.rounds):
                for work in works:
                    if alone is not None and work.beside_raw:
                        self._take_raw_turn(alone, work, number)
                    for server in rotated(servers, number):
                        self._take_turn(server, work, number)
            self._note_best_of_raw()
            for server in servers:
                with self._left_out(server.side, None), server.awake():
                    server.verify_all()  # still as right as before it was loaded

    def _begin(self, model: str, server: "_Server") -> None:
        """Check a server, load it for the first time, and see what it does when it has nothing to do."""
        self._tell(f"{server.side.name}: started")
        with server.awake():
            self._await_all_workers(server, model)
            server.idle_share = server.process.idle_share(self._plan.idle_seconds)

    def _take_turn(self, server: "_Server", work: Work, number: int) -> None:
        """Measure one server once, unless it has failed at this work before."""
        if work.kind not in server.side.exchanges or work in server.failed:
            return
        with self._left_out(server.side, work, failed=server.failed), server.awake():
            server.verify(work)
            if number == 0:
                self._load(server, work, _WARM_UP_SECONDS)
            before = server.process.cpu_seconds()
            load = self._load(server, work, self._plan.seconds)
            spent = server.process.cpu_seconds() - before
            server.verify(work)
            rate, cpu_us = load.requests / load.seconds, spent / load.requests * 1e6
            side = server.side
            self.measured.rounds.append(
                Figures(side.name, side.family, work, number, rate, load.p50_ms, load.p99_ms, cpu_us)
            )
            self._tell(f"{number + 1}/{self._plan.rounds} {work!s:<45} {rate:>8,.0f}/s {cpu_us:>6.0f} µs  {side.name}")
            self._weigh(server, work.model)

    def _weigh(self, server: "_Server", model: str) -> None:
        """Note what memory a server has held until now, in place of what was noted before."""
        name, peak_mb = server.side.name, server.process.peak_bytes() / 1e6
        footprint = Footprint(name, server.side.family, model, peak_mb, server.idle_share)
        self.measured.footprints[name, model] = footprint

    def _take_raw_turn(self, alone: RawSessions, work: Work, number: int) -> None:
        """Measure the session alone, in one process and in several, at every batch size."""
        for processes in raw.PROCESSES:
            for batch in raw.BATCHES:
                found = alone.measure(processes, batch, seconds=self._plan.raw_seconds)
                self.measured.raw.append(found)
                self._alone.append((work, number, found))
                told = f"{found.rows_per_second:>8,.0f} rows/s  session alone, {processes} × batch {batch}"
                self._tell(f"{number + 1}/{self._plan.rounds} {work!s:<45} {told}")

    def _note_best_of_raw(self) -> None:
        """Note what the session alone makes of a kind of work, with the batch size that is its best in the median."""
        for processes, name in zip(raw.PROCESSES, (RAW_ONE, RAW_TWO), strict=True):
            for work in dict.fromkeys(work for work, _, _ in self._alone):
                mine = [(number, one) for done, number, one in self._alone if (done, one.processes) == (work, processes)]
                rates = {batch: [one.rows_per_second for _, one in mine if one.batch == batch] for batch in raw.BATCHES}
                medians = {batch: median(found) for batch, found in rates.items()}
                best = max(medians, key=lambda batch: medians[batch])
                for number, one in mine:
                    if one.batch == best:
                        rate, cpu_us = one.rows_per_second / work.rows, one.cpu_us_per_row * work.rows
                        self.measured.rounds.append(Figures(name, RAW_FAMILY, work, number, rate, None, None, cpu_us))
        self._alone.clear()

    def _await_all_workers(self, server: "_Server", model: str) -> None:
        """Return once every answer is right: while one worker answers, another may say yet that it is not ready."""
        first = Work(model, 1, next(iter(server.side.exchanges)), _FIRST_CONNECTIONS)
        end = time.monotonic() + _FIRST_SECONDS
        while True:
            try:
                server.verify_all()
                self._load(server, first, _WARM_UP_SECONDS)
            except CannotRun:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    def _load(self, server: "_Server", work: Work, seconds: int) -> wrk.Load:
        exchange = server.exchange(work)
        script = wrk.write_script(exchange, self._folder, f"{work.kind}-{work.rows}")
        return wrk.load(
            self._generator, script, server.process.port, exchange, connections=work.connections, seconds=seconds
        )

    @contextlib.contextmanager
    def _left_out(self, side: Side, work: Work | None, *, failed: set[Work] | None = None) -> Iterator[None]:
        """Note that a side fails, at one kind of work or altogether, and go on without it: the other figures are as good."""
        try:
            yield
        except CannotRun as error:
            if side.family != FRAMEWORK:
                self.measured.failures.append(str(error))
            reason = str(error).removeprefix(f"{side.name}: ")
            self.measured.absent.append(Absent(side.name, None if work is None else str(work), reason))
            self._tell(f"left out: {side.name}{'' if work is None else f', {work}'}: {reason}")
            if failed is not None and work is not None:
                failed.add(work)


class _Server:
    """A running side between its turns."""

    def __init__(self, process: Running, expected: dict[int, Array]) -> None:
        self.process = process
        self.side = process.side
        self.idle_share = 0.0
        self.failed: set[Work] = set()
        self._expected = expected
        self._exchanges: dict[tuple[str, int], Exchange] = {}

    def exchange(self, work: Work) -> Exchange:
        """Return the request of a kind of work."""
        key = work.kind, work.rows
        if key not in self._exchanges:
            self._exchanges[key] = self.side.exchanges[work.kind](images(work.rows))
        return self._exchanges[key]

    def verify(self, work: Work) -> None:
        """Raise CannotRun unless the answer is the model's."""
        self.process.verify(self.exchange(work), self._expected[work.rows])

    def verify_all(self) -> None:
        """Do so with every way in which images travel, in all numbers."""
        for kind in self.side.exchanges:
            for rows in self._expected:
                self.verify(Work("", rows, kind, 1))

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run until the block ends."""
        self.process.resume()
        try:
            yield
        finally:
            self.process.pause()


def rotated(servers: "Sequence[T]", number: int) -> "list[T]":
    """Return them with another one first in every round: to be the first of a round may be an advantage."""
    first = number % len(servers) if servers else 0
    return [*servers[first:], *servers[:first]]
