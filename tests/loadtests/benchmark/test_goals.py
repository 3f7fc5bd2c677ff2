"""Goals are judged within rounds, by the opponent that is best, and say what nobody measured."""

import pytest

from loadtests.benchmark.figures import RAW_ONE, RAW_TWO, Figures, Findings, Footprint
from loadtests.benchmark.goals import (
    CPU,
    GOALS,
    IDLE,
    OURS,
    P50,
    PEAK,
    RATE,
    Goal,
    Limit,
    judge,
)  # fmt: skip
from loadtests.benchmark.sameway import sides as sameway_sides
from loadtests.benchmark.side import FRAMEWORK, SAMEWAY
from loadtests.benchmark.work import JSON, SMALL, WORKS, Work

WORK = Work(SMALL, 1, JSON, 16)


def findings(*found: tuple[str, str, int, float], footprints: tuple[Footprint, ...] = ()) -> Findings:
    """Return what was found: side, family, round, requests/s; latency and processor time are the inverse."""
    rounds = tuple(
        Figures(side, family, WORK, number, rate, 1000 / rate, 2000 / rate, 1e6 / rate)
        for side, family, number, rate in found
    )
    return Findings({}, rounds, footprints, (), ())


FOUND = findings(
    (OURS, SAMEWAY, 0, 200), ("slow", FRAMEWORK, 0, 20), ("fast", FRAMEWORK, 0, 100),
    (OURS, SAMEWAY, 1, 90), ("slow", FRAMEWORK, 1, 60), ("fast", FRAMEWORK, 1, 30),
    (OURS, SAMEWAY, 2, 250), ("slow", FRAMEWORK, 2, 20), ("fast", FRAMEWORK, 2, 100),
)  # fmt: skip


def test_the_opponent_is_the_best_in_the_median_and_ratios_are_of_rounds() -> None:
    verdict = judge(Goal(WORK, RATE, 2.3, FRAMEWORK), FOUND)
    assert (verdict.opponent, verdict.found, verdict.met) == ("fast", 2.5, True)


@pytest.mark.parametrize(
    ("figure", "bound", "met"),
    [(RATE, 2.6, False), (CPU, 0.5, True), (CPU, 0.3, False), (P50, 0.4, True), (P50, 0.39, False)],
)
def test_more_is_better_for_some_figures_and_less_for_others(figure: str, bound: float, met: bool) -> None:
    assert judge(Goal(WORK, figure, bound, "fast"), FOUND).met is met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    for goal in (Goal(WORK, RATE, 1.0, "nobody"), Goal(WORK, RATE, 1.0, "fast", ours="nobody"), Limit(PEAK, 1.0)):
        verdict = judge(goal, FOUND)
        assert (verdict.found, verdict.met) == (None, None)


def test_limits_are_of_one_side_with_the_small_model() -> None:
    held = (Footprint("ours", SAMEWAY, "large", 900, 0.5), Footprint("ours", SAMEWAY, SMALL, 120, 0.006))
    found = findings(footprints=held)
    assert judge(Limit(PEAK, 140, "ours"), found).met is True
    assert judge(Limit(IDLE, 0.005, "ours"), found).met is False


def test_every_goal_is_about_work_that_is_measured_and_a_side_there_is() -> None:
    names = {side.name for side in sameway_sides()[0]}
    assert {goal.ours for goal in GOALS} <= names
    assert {goal.work for goal in GOALS if isinstance(goal, Goal)} <= set(WORKS)
    raw = [goal for goal in GOALS if isinstance(goal, Goal) and goal.against in (RAW_ONE, RAW_TWO)]
    assert raw
    assert all(goal.work.beside_raw for goal in raw)
