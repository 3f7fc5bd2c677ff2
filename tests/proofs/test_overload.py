import math

import pytest

from proofs.load import Outcome
from proofs.overload import FRONTENDS, Bounds, _recovery_seconds, prove
from proofs.verdict import table

#: The machine that runs the suite does other things too, and may give the overload half of what it gave the calibration,
#: or stop a process for a while. A server without the contract is far from these bounds all the same: by a queue without
#: an end, p99 is seconds and grows; where those are computed whose time has passed, hardly any answer is in time.
BUSY = Bounds(goodput=0.3, refusal_seconds=1.0, batches=30.0, recovery_seconds=2.0, late=0.6)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_an_overloaded_server_goes_on_answering_and_refuses_the_others_at_once(frontend: str) -> None:
    verdicts = prove(frontend, seconds=3.0, bounds=BUSY)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
    assert {"full queue: sent", "short time: sent"} <= {one.name for one in verdicts}


def calm(*bad: float) -> list[Outcome]:
    """Return 5 seconds of 100 requests each, of which those at some moments were refused."""
    moments = [number / 100 for number in range(500)]
    return [Outcome("", moment, moment + 0.02, 429 if moment in bad else 200, right=moment not in bad) for moment in moments]


def test_a_server_has_recovered_when_a_whole_second_is_as_it_should_be() -> None:
    assert _recovery_seconds(calm(), 0.1) == 0
    assert _recovery_seconds(calm(0.5), 0.1) == 0.5
    assert _recovery_seconds(calm(0.5, 1.25, 3.0), 0.1) == 1.25
    assert _recovery_seconds(calm(0.9, 1.8, 2.7, 3.6, 4.5), 0.1) == math.inf
    assert _recovery_seconds(calm(), 0.01) == math.inf
