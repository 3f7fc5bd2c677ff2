"""The small form fails for a regression, and never for a slow machine."""

import json
from pathlib import Path

import pytest

from loadtests.benchmark import check
from loadtests.benchmark.bare_asgi import side as bare
from loadtests.benchmark.figures import Figures, Findings
from loadtests.benchmark.side import BARE, SAMEWAY, CannotRun
from loadtests.benchmark.surroundings import surroundings
from loadtests.benchmark.work import BINARY, JSON

OURS = "Sameway, FastAPI, 1 worker"


def findings(*ratios: float, slow: float = 1.0) -> Findings:
    """Return rounds in which a request costs so many times the bare one, both on a machine that is so slow."""
    rounds = []
    for number, ratio in enumerate(ratios):
        for work in check.WORKS:
            rounds.append(Figures(bare().name, BARE, work, number, 1.0, 1.0, 1.0, 50.0 * slow))
            rounds.append(Figures(OURS, SAMEWAY, work, number, 1.0, 1.0, 1.0, 50.0 * slow * ratio))
    return Findings({}, tuple(rounds), (), (), ())


@pytest.mark.parametrize(("found", "is_regression"), [(2.0, False), (2.99, False), (3.01, True)])
def test_only_far_above_the_record_is_a_regression(found: float, is_regression: bool) -> None:
    recorded = {OURS: {JSON: 2.0, BINARY: 2.0}}
    costs = check.costs(findings(9.0, found, 0.1, slow=7.0), recorded)
    assert [one.kind for one in costs] == [JSON, BINARY]
    assert all(one.is_regression is is_regression for one in costs)
    assert ("REGRESSION" in check.tell(costs)) is is_regression


def test_what_was_never_recorded_is_told_and_passes() -> None:
    (json_cost, binary_cost) = check.costs(findings(50.0), {OURS: {BINARY: 50.0}})
    assert (json_cost.recorded, json_cost.is_regression, binary_cost.recorded) == (None, False, 50.0)
    assert "not recorded yet" in check.tell([json_cost])


def test_a_record_keeps_the_sides_that_were_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    around = surroundings("wrk 4.1.0")
    assert check.read(path) == {}
    check.record([check.Cost("other", JSON, 4.0, None)], around, path)
    check.record([check.Cost(OURS, JSON, 1.256, None)], around, path)
    assert check.read(path) == {"other": {JSON: 4.0}, OURS: {JSON: 1.26}}


@pytest.mark.parametrize("text", ["", "{}", '{"cpu_per_request_beside_bare_uvicorn": {"a": 1}}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recorded.json"
    path.write_text(text)
    with pytest.raises(CannotRun, match=r"recorded\.json: expected ratios"):
        check.read(path)


def test_the_record_of_this_tree_can_be_read() -> None:
    recorded = check.read()
    assert recorded[OURS].keys() == {JSON, BINARY}
    assert json.loads(check.RECORDED.read_text())["measured_on"]["processor"]
