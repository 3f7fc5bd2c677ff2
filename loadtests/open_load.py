"""Open load: requests are sent when they are due, whatever has become of those before them.

A closed load waits for an answer before it sends the next request: a server that stalls is asked less, and what its stall
would have cost the others is never measured (coordinated omission). Here a stall is met by everybody who comes meanwhile,
and every latency counts from the moment at which its request was due.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator

import gevent

from loadtests.asking import Asker
from loadtests.descriptors import MOST, at_first, most_connections
from loadtests.timer import Timer


class Pacer:
    """Sends the arrivals of a share of the plan, each on a free connection, or a new one where all are taken.

    A process may have several: each has its own number among those of all processes, and so its own arrivals.
    """

    def __init__(self, make: Callable[[], Asker]) -> None:
        self._make = make
        self._first = make()
        self.generator = generator = self._first.generator
        self._of = max(1, generator.plan.processes)
        self._share, self._number = 1 / self._of, generator.number + generator.workers * next(generator.pacers)
        rate = generator.plan.profile.level(0.0) * self._share
        self._most = min(MOST, most_connections())
        begin = min(self._most, at_first(rate))
        self._free: deque[Asker] = deque([self._first, *(make() for _ in range(begin - 1))])
        self._connections = self._begun_with = begin
        self._line: deque[float] = deque()
        self._stood_in_line = 0
        self._closed = False
        self._under_way: set[gevent.Greenlet] = set()

    def run(self) -> None:
        """Send until the plan or the generator says that it is over; return when the last has ended."""
        generator, plan, timer = self.generator, self.generator.plan, Timer()
        arrivals = plan.profile.arrivals(
            share=self._share,
            poisson=plan.poisson,
            seed=(plan.seed, self._number),
            phase=(self._number % self._of + 0.5) / self._of,
        )
        started = generator.begin()
        try:
            for due in arrivals:
                self._sleep_until(timer, started + due)
                if generator.stopping:
                    late = time.monotonic() - started
                    self._line.extend(started + other for other in _until(late, itertools.chain((due,), arrivals)))
                    break
                self._send(started + due)
            self._finish()
        finally:
            timer.close()
            self._tell()

    def _finish(self) -> None:
        """Wait for the line as long as any request may take, and then for whoever has been sent: each has its own time."""
        seconds = self.generator.plan.timeout_seconds
        gevent.joinall(list(self._under_way), timeout=seconds)
        self._closed = True
        gevent.joinall(list(self._under_way), timeout=seconds + 1)

    def _sleep_until(self, timer: Timer, moment: float) -> None:
        """Sleep, in pieces of a second at most, so that whoever wants to stop is heard."""
        while not self.generator.stopping and (now := time.monotonic()) < moment:
            timer.sleep_until(min(moment, now + 1.0))

    def _send(self, due: float) -> None:
        if not self._free:
            if self._connections >= self._most:
                self._line.append(due)
                self._stood_in_line += 1
                return
            self._free.append(self._make())
            self._connections += 1
        greenlet = gevent.spawn(self._ask, self._free.pop(), due)
        self._under_way.add(greenlet)
        greenlet.rawlink(self._under_way.discard)

    def _ask(self, asker: Asker, due: float) -> None:
        """Send what is due, and what has waited for a connection meanwhile."""
        asker.ask(due)
        while self._line and not self._closed and not self.generator.stopping:
            asker.ask(self._line.popleft())
        self._free.append(asker)

    def _tell(self) -> None:
        """Note what has no answer yet, and what never got a connection: every arrival has a record in the end.

        Report how far the pool of connections grew, and how many arrivals it was too small for.
        """
        self._closed = True
        gevent.killall(list(self._under_way))
        for due in self._line:
            self._first.never_sent(due)
        facts = self.generator.recorder.facts
        for name, more in (
            ("connections_at_first", self._begun_with), ("connections", self._connections),
            ("stood_in_line", self._stood_in_line), ("never_sent", len(self._line)),
        ):  # fmt: skip
            facts[name] = facts.get(name, 0) + more


def _until(moment: float, arrivals: Iterator[float]) -> Iterator[float]:
    """Yield the arrivals until a moment: a plan may last for months, and nobody has been waiting for what comes then."""
    return itertools.takewhile(lambda due: due <= moment, arrivals)
