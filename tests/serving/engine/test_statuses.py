from serving.engine.base import State
from serving.engine.statuses import ELSEWHERE, UNLOADED, merged


def said(state: State, reason: str = "") -> dict[str, str]:
    return {"model": "toy", "version": "1", "state": state.value, "reason": reason}


def test_a_version_is_in_the_worst_state_that_a_process_has_it_in_and_loads_where_one_lacks_it() -> None:
    other = {"model": "other", "version": "1", "state": "READY"}
    told = {0: [said(State.READY)], 1: [said(State.UNAVAILABLE, UNLOADED), other]}
    assert [(one.name, one.state) for one in merged(told)] == [("other", State.LOADING), ("toy", State.UNAVAILABLE)]


def test_why_a_version_is_not_served_is_told_by_the_process_that_knows() -> None:
    for order in ((0, 1), (1, 0)):
        reasons = dict(zip(order, (ELSEWHERE, "altered"), strict=True))
        told = {process: [said(State.UNAVAILABLE, reasons[process])] for process in (0, 1)}
        assert [one.reason for one in merged(told)] == ["altered"]
