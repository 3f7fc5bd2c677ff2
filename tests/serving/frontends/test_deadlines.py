import asyncio
from collections.abc import Callable

import pytest

from serving.frontends.deadlines import Deadlines
from serving.limits import Limits

LIMITS = Limits(head_seconds=1.0, body_seconds=3.0, write_seconds=5.0)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def pass_until(self, now: float) -> None:
        """Let time pass, and what is due by then happen."""
        self.now = now
        self.call_soon(self.stop)
        self.run_forever()
        self.call_soon(self.stop)
        self.run_forever()


@pytest.fixture
def told() -> list[str]:
    return []


def kept(clock: Clock, told: list[str]) -> Deadlines:
    stuck: Callable[[], None] = lambda: told.append("stuck")  # noqa: E731 - typed so
    return Deadlines(clock, LIMITS, too_slow=told.append, stuck=stuck)


def test_each_part_has_its_own_time_from_its_beginning(told: list[str]) -> None:
    clock = Clock()
    deadlines = kept(clock, told)
    deadlines.arrive((1, "headers"))
    clock.pass_until(0.9)
    deadlines.arrive((1, "body"))
    clock.pass_until(3.8)
    assert told == []
    assert deadlines.arriving == (1, "body")
    clock.pass_until(4.0)
    assert told == ["body"]
    clock.close()


def test_what_has_arrived_is_not_too_slow(told: list[str]) -> None:
    clock = Clock()
    deadlines = kept(clock, told)
    deadlines.arrive((1, "headers"))
    deadlines.arrive(None)
    clock.pass_until(100.0)
    assert told == []
    clock.close()


def test_an_answer_has_to_be_taken_in_its_time_however_often_writing_stops(told: list[str]) -> None:
    clock = Clock()
    deadlines = kept(clock, told)
    deadlines.write()
    clock.pass_until(4.0)
    deadlines.write()
    clock.pass_until(5.0)
    assert told == ["stuck"]
    clock.close()


def test_an_answer_that_is_taken_is_forgotten(told: list[str]) -> None:
    clock = Clock()
    deadlines = kept(clock, told)
    deadlines.write()
    deadlines.written()
    deadlines.written()
    clock.pass_until(100.0)
    assert told == []
    clock.close()
