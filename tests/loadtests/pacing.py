"""A pacer of an open load and nothing else: no server, and users that only wait. What it did is told as JSON.

    python -m tests.loadtests.pacing for_ever|in_line|two

A program of its own, as Locust patches the standard library.
"""

import gevent  # isort: skip
from locust import events  # isort: skip  # noqa: F401 - Locust patches first

import json
import sys
import time
from typing import Any

from loadtests import open_load
from loadtests.generator import Generator
from loadtests.plan import Plan, Traffic
from loadtests.shapes import make


class Waiting:
    """A user whose requests take so long, in seconds."""

    def __init__(self, generator: Generator, seconds: float, sent: list[float], missed: list[float]) -> None:
        self.generator, self._seconds, self._sent, self._missed = generator, seconds, sent, missed

    def ask(self, due: float) -> None:
        self._sent.append(due)
        gevent.sleep(self._seconds)

    def never_sent(self, due: float) -> None:
        self._missed.append(due)


def paced(*, rate: float, seconds: float, each: float, pacers: int, halt_after: float | None) -> dict[str, Any]:
    """Run so many pacers in one process and return what became of their arrivals. Any: JSON."""
    profile = make("steady", rate, seconds)
    plan = Plan(
        "http://127.0.0.1:1", (Traffic("toy", "json", 1.0),), profile, open_load=True, poisson=False,
        timeout_seconds=each + 5, processes=pacers,
    )  # fmt: skip
    generator = Generator(plan, {}, None)
    sent: list[float] = []
    missed: list[float] = []

    def make_one() -> Any:
        return Waiting(generator, each, sent, missed)

    running = [gevent.spawn(open_load.Pacer(make_one).run) for _ in range(pacers)]
    if halt_after is not None:
        gevent.sleep(halt_after)
        generator.halt()
    begun = time.monotonic()
    gevent.joinall(running, raise_error=True)
    return {
        "ended_after": time.monotonic() - begun,
        "sent": sorted(sent),
        "missed": sorted(missed),
        "facts": generator.recorder.facts,
    }


if __name__ == "__main__":
    if sys.argv[1] == "for_ever":
        found = paced(rate=500, seconds=1e7, each=0.0, pacers=1, halt_after=0.3)
    elif sys.argv[1] == "two":
        found = paced(rate=100, seconds=0.5, each=0.0, pacers=2, halt_after=None)
    else:
        vars(open_load)["MOST"] = 4
        found = paced(rate=100, seconds=1.0, each=2.0, pacers=1, halt_after=1.5)
    json.dump(found, sys.stdout)
