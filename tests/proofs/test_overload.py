import pytest

from proofs.overload import FRONTENDS, Bounds, prove
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
