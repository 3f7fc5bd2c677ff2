"""Open load: requests are sent when they are due, whatever has become of those before them.

A closed load waits for an answer before it sends the next request: a server that stalls is asked less, and what its stall
would have cost the others is never measured (coordinated omission). Here a stall is met by everybody who comes meanwhile,
and every latency counts from the moment at which its request was due.
"""

import time
from collections import deque
from collections.abc import Callable

import gevent

from loadtests.asking import Asker
from loadtests.descriptors import most_connections
from loadtests.timer import Timer

#: Connections that there are at first: enough for what is under way when answers take so long.
_USUAL_SECONDS, _FEWEST = 0.05, 8

#: With more than this, or than there can be descriptors, requests wait, and their latencies grow.
_MOST_CONNECTIONS = 4000


class Pacer:
    """Sends the arrivals of a share of the plan, each on a free connection, or a new one where all are taken."""

    def __init__(self, make: Callable[[], Asker], *, share: float, number: int, of: int) -> None:
        self._make = make
        self._first = make()
        self.generator = self._first.generator
        self._share, self._number, self._of = share, number, of
        rate = self.generator.plan.profile.level(0.0) * share
        self._most = min(_MOST_CONNECTIONS, most_connections())
        begin = min(self._most, max(_FEWEST, round(rate * _USUAL_SECONDS)))
        self._free: deque[Asker] = deque([self._first, *(make() for _ in range(begin - 1))])
        self._connections = self._begun_with = begin
        self._line: deque[float] = deque()
        self._under_way: set[gevent.Greenlet] = set()

    def run(self) -> None:
        """Send until the plan or the generator says that it is over; return when the last has ended."""
        generator, plan, timer = self.generator, self.generator.plan, Timer()
        arrivals = plan.profile.arrivals(
            share=self._share,
            poisson=plan.poisson,
            seed=(plan.seed, self._number),
            phase=(self._number + 0.5) / self._of,
        )
        started = generator.begin()
        try:
            for due in arrivals:
                self._sleep_until(timer, started + due)
                if generator.stopping:
                    break
                self._send(started + due)
            # Whoever has been sent is waited for, as long as any request may take.
            gevent.joinall(list(self._under_way), timeout=plan.timeout_seconds + 1)
        finally:
            timer.close()
            self._tell()

    def _sleep_until(self, timer: Timer, moment: float) -> None:
        """Sleep, in pieces of a second at most, so that whoever wants to stop is heard."""
        while not self.generator.stopping and (now := time.monotonic()) < moment:
            timer.sleep_until(min(moment, now + 1.0))

    def _send(self, due: float) -> None:
        if not self._free:
            if self._connections >= self._most:
                self._line.append(due)
                return
            self._free.append(self._make())
            self._connections += 1
        greenlet = gevent.spawn(self._ask, self._free.pop(), due)
        self._under_way.add(greenlet)
        greenlet.rawlink(self._under_way.discard)

    def _ask(self, asker: Asker, due: float) -> None:
        """Send what is due, and what has waited for a connection meanwhile."""
        asker.ask(due)
        while self._line and not self.generator.stopping:
            asker.ask(self._line.popleft())
        self._free.append(asker)

    def _tell(self) -> None:
        """Report how far the pool of connections grew, and what never got one."""
        facts = self.generator.recorder.facts
        facts["connections_at_first"] = facts.get("connections_at_first", 0) + self._begun_with
        facts["connections"] = facts.get("connections", 0) + self._connections
        facts["never_sent"] = facts.get("never_sent", 0) + len(self._line)
