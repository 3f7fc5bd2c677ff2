"""Objectives: how they are read, and what keeps them."""

import numpy as np
import pytest

from loadtests.figures import Window, window
from loadtests.records import Kind
from loadtests.slo import Objective, SloError, judge, latency_limit, parse, unexcused
from tests.loadtests.synthetic import START, records


def seen(right: int = 100, wrong: int = 0, refused: int = 0) -> Window:
    """Return ten seconds with latencies of 1 … n ms, and some failures that are quick."""
    parts = [records(np.arange(1, right + 1) / 1000), records([0.0001] * wrong, kind=Kind.WRONG)]
    parts.append(records([0.0001] * refused, kind=Kind.REFUSED))
    return window(np.concatenate(parts), START, START + 10)


def kept(text: str, one: Window) -> bool:
    (judged,) = judge(parse(text), one)
    return judged.kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p50<51ms", True),
        ("p50<50ms", False),
        ("p50<=50.01 ms", True),
        ("p99 < 0.1s", True),
        ("p99<98999us", False),
        ("p99<99.5", True),
        ("max<=100.01ms", True),
        ("mean<50ms", False),
        ("errors<=0%", True),
        ("goodput>9", True),
        ("goodput>11/s", False),
        ("throughput>=9.9rps", True),
        ("wrong<=0", True),
    ],
)
def test_a_hundred_right_answers(text: str, expected: bool) -> None:
    assert kept(text, seen()) is expected


def test_who_gets_no_right_answer_waits_for_ever() -> None:
    refusing = seen(right=90, refused=10)
    assert not kept("p95<1000s", refusing)
    assert kept("p90<91ms", refusing)
    assert not kept("mean<1000s", refusing)
    assert kept("refused<11%", refusing)
    assert not kept("refused<=9%", refusing)
    assert kept("wrong<=0%", refusing)
    assert not kept("wrong<1%", seen(right=98, wrong=2))


def test_nothing_measured_keeps_nothing() -> None:
    nothing = seen(right=0)
    assert not any(kept(text, nothing) for text in ("p99<1s", "p99>1s", "errors<1%", "goodput>0"))
    (judged,) = judge(parse("p99<1s"), nothing)
    assert "nothing measured" in str(judged)


def test_several_are_judged_each() -> None:
    judged = judge(parse("p99<50ms, errors<0.1%,goodput>5"), seen())
    assert [one.kept for one in judged] == [False, True, True]
    assert str(judged[0]) == "p99<50ms: MISSED, found 99 ms"
    assert judged[0].to_json() == {"objective": "p99<50ms", "found": 0.099, "told": "99 ms", "kept": False}


def test_the_strictest_latency() -> None:
    assert latency_limit(parse("p99<50ms,p50<10ms,errors<1%")) == pytest.approx(0.01)
    assert latency_limit(parse("errors<1%")) is None
    assert parse("p99.9<1s") == (Objective("p99.9<1s", "p99.9", "<", 1.0),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "slo: expected terms as p99<50ms"),
        ("p99", "slo: expected terms"),
        ("p99=50ms", "slo: expected terms"),
        ("p99<", "slo: expected terms"),
        ("p101<5ms", "slo: expected"),
        ("p0<5ms", "percentile above 0"),
        ("speed<5ms", "found 'speed'"),
        ("p99<5%", "slo: p99: expected a unit of none, ms"),
        ("errors<5ms", "slo: errors: expected a unit"),
        ("p99<1.2.3ms", "expected a number"),
        ("p99<50ms,", "slo: expected terms"),
        ("p99<50ms;errors<1", "slo: expected a comma between terms"),
        ("p99<50ms errors<1", "slo: expected a comma between terms"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, told: str) -> None:
    with pytest.raises(SloError, match=told):
        parse(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [("p99<1s", 0.5), ("wrong<=1%", 0.25), ("refused<50%", 0.25), ("refused<50%,wrong<1%", 0.0), ("errors<99%", 0.0)],
)
def test_an_objective_excuses_the_failures_that_it_speaks_of_and_no_others(text: str, share: float) -> None:
    assert unexcused(parse(text), seen(right=50, wrong=25, refused=25)) == pytest.approx(share)


def test_where_nothing_is_right_nothing_is_excused() -> None:
    assert unexcused(parse("errors<=100%"), seen(right=0, refused=5)) == 1.0
    assert unexcused(parse("errors<=100%"), seen(right=0)) == 0.0


@pytest.mark.parametrize("text", ["p0<5ms", "p0.0<5ms", "p00<5ms"])
def test_a_percentile_is_above_zero(text: str) -> None:
    with pytest.raises(SloError, match="above 0"):
        parse(text)
