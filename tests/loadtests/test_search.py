"""A search with loads that nobody sends: their figures are what a server of a known capacity would give."""

import numpy as np
import pytest

from loadtests.calibration import Speed
from loadtests.descriptors import TooFew
from loadtests.plan import Plan, Traffic
from loadtests.process import Load
from loadtests.report import INVALID, of_search
from loadtests.search import Budget, Found, find
from loadtests.shapes import make
from loadtests.slo import parse
from tests.loadtests.synthetic import load, records

CAPACITY = 300.0
SLO = "p99<50ms,errors<1%"


def served(plan: Plan, *, busy: float = 0.3, capacity: float = CAPACITY) -> Load:
    """Return what becomes of a plan: 5 ms below the capacity, and a queue that grows above it."""
    rate, seconds = plan.profile.highest, plan.profile.seconds
    count = round(rate * seconds)
    waits = np.arange(count) / rate * max(0.0, rate / capacity - 1)
    return load(records(0.005 + waits, over=seconds), over=seconds, busy=busy)


def searched(serve: object, first: float = 100.0, **budget: float) -> Found:
    plan = Plan("http://127.0.0.1:1", (Traffic("toy", "json", 1.0),), make("steady", 1, 1))
    budgeted = Budget(2.0, 0.0, 30, **budget)
    # Others may slow this machine down while the test runs, which is not what it is about.
    return find(serve, plan, parse(SLO), budgeted, first=first, speed=lambda: Speed(0.0, 4.0, 4.0, 4.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [20.0, 290.0, 3000.0])
def test_the_capacity_is_found_and_the_server_named_as_its_limit(first: float) -> None:
    found = searched(served, first)
    assert found.valid
    assert found.estimate is not None
    # A queue that grows slowly stays below 50 ms for the two seconds of a trial.
    assert found.estimate.low < CAPACITY * 1.06
    assert found.estimate.high > CAPACITY
    told = found.to_json(SLO)
    assert "the server is the limit; precise enough" in told["told"]
    assert "drifted by" in told["told"]
    assert all(trial["calibration_ms"] > 0 for trial in told["trials"])


def test_a_saturated_generator_invalidates_the_search() -> None:
    found = searched(lambda plan: served(plan, busy=0.97 if plan.profile.highest > 200 else 0.5))
    assert not found.valid
    assert "the generator was saturated before the server: 97% of a core" in found.told(SLO)
    assert [trial["cause"] for trial in found.trials[-3:]] == ["generator"] * 3


def test_a_server_that_never_keeps_it_is_no_endless_search() -> None:
    found = searched(lambda plan: served(plan, capacity=1e-6), first=1.0)
    assert not found.valid
    assert "no rate that was tried kept it" in found.told(SLO)


def test_a_rate_without_descriptors_ends_the_search_and_its_trials_are_kept() -> None:
    def limited(plan: Plan) -> Load:
        if plan.profile.highest > 200:
            raise TooFew("rate: expected more connections")
        return served(plan)

    found = searched(limited)
    assert not found.valid
    assert len(found.trials) == 2
    assert of_search(found.valid, found.why) == INVALID
    with pytest.raises(TooFew):
        searched(limited, first=300.0)


def test_ctrl_c_keeps_what_is_known() -> None:
    seen = 0

    def interrupted(plan: Plan) -> Load:
        nonlocal seen
        seen += 1
        one = served(plan)
        one.interrupted = "interrupted by Ctrl-C" if seen == 6 else None
        return one

    found = searched(interrupted, precision=0.005)
    assert found.interrupted
    assert not found.valid
    assert len(found.trials) == 5


def test_no_trial_counts_that_was_made_while_the_machine_was_slow() -> None:
    speeds = iter([4.0, 4.0, 9.0, 4.0, *[4.0] * 100])
    plan = Plan("http://127.0.0.1:1", (Traffic("toy", "json", 1.0),), make("steady", 1, 1))

    def speed() -> Speed:
        now = next(speeds)
        return Speed(0.0, now, now, now)

    found = find(served, plan, parse(SLO), Budget(2.0, 0.0, 30), first=100.0, speed=speed)
    assert [trial["cause"] for trial in found.trials[:4]] == [None, "machine", "machine", None]
    assert "2 made again, as the machine was slow" in found.told(SLO)


def test_a_signal_while_the_server_settles_loses_no_trial() -> None:
    def settle() -> None:
        raise KeyboardInterrupt("interrupted by Ctrl-C at some time")

    plan = Plan("http://127.0.0.1:1", (Traffic("toy", "json", 1.0),), make("steady", 1, 1))
    found = find(served, plan, parse(SLO), Budget(2.0, 0.0, 30), first=100.0, settle=settle)
    assert len(found.trials) == 1
    assert found.interrupted == "interrupted by Ctrl-C at some time"
    assert "interrupted by Ctrl-C at some time" in found.told(SLO)
