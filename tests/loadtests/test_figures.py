"""Figures of loads whose every latency is known."""

import numpy as np
import pytest

from loadtests import figures
from loadtests.figures import noise, percentile, series, stage_means, window, window_of
from loadtests.records import STAGES, Kind, stages_of
from loadtests.report import BAD, GOOD, INTERRUPTED, INVALID, run_json
from loadtests.slo import parse
from tests.loadtests.synthetic import START, load, records


def test_percentiles_are_latencies_that_there_were() -> None:
    values = np.arange(1, 101) / 100
    assert [percentile(values, percent) for percent in (1, 50, 99, 99.9)] == [0.01, 0.5, 0.99, 1.0]
    assert np.isnan(percentile(np.array([]), 50))


def test_the_figures_of_a_window() -> None:
    found = figures.figures(window(records(np.arange(1, 1001) / 10_000), START, START + 10))
    assert found["requests"] == found["right"] == 1000
    assert found["offered"] == pytest.approx(100)
    assert found["goodput"] == pytest.approx(100, rel=0.02)
    assert (found["p50_ms"], found["p99_ms"], found["max_ms"]) == (50, 99, 100)
    assert found["errors"] == found["wrong"] == 0


def test_what_ends_after_the_window_is_no_throughput_of_it_but_its_latency_counts() -> None:
    found = figures.figures(window(records([100.0] * 50), START, START + 10))
    assert found["goodput"] == 0
    assert found["p50_ms"] == 100_000


def test_nothing_is_told_as_nothing() -> None:
    found = figures.figures(window(figures.empty(), START, START + 1))
    assert found["requests"] == 0
    assert found["p50_ms"] is None
    assert found["errors"] is None


def test_noise_is_small_where_blocks_agree_and_large_where_they_do_not() -> None:
    steady = window(records([0.01] * 1000), START, START + 10)
    climbing = window(records(np.linspace(0.01, 0.1, 1000)), START, START + 10)
    assert noise(steady)["p50_ms"] == pytest.approx(0, abs=1e-4)
    assert noise(climbing)["p50_ms"] > 20
    # Taken in slices from all over it, the same climb is the same everywhere.
    assert noise(climbing, changing=True)["p50_ms"] < 2
    assert noise(climbing, changing=True)["goodput"] < 20


def test_the_series_has_a_point_per_second() -> None:
    told = series(window(records([0.01] * 100), START, START + 10))
    assert told["columns"][:3] == ["seconds", "offered", "goodput"]
    assert [point[0] for point in told["points"]] == list(range(10))
    assert {point[1] for point in told["points"]} == {10}
    assert len(series(window(records([0.01] * 100), START, START + 10), most=5)["points"]) == 5


def test_stages_are_read_from_the_header_and_averaged() -> None:
    assert stages_of("decode;dur=0.5, queue;dur=1, total;dur=2.25")[:2] == (0.5, 1.0)
    assert np.isnan(stages_of("decode;dur=0.5")[1])
    assert all(np.isnan(stages_of('cache;desc="hit";dur=1, decode;dur=x')))
    assert all(np.isnan(stages_of("miss")))
    means = stage_means(window(records([0.01] * 10), START, START + 10))
    assert [means[stage] for stage in STAGES] == [0.1, 0.2, 0.3, 0.4, 0.5, 1.5]


def test_the_warm_up_does_not_count() -> None:
    one = load(records([0.01] * 100))
    assert window_of(one).seconds == 10
    late = one.plan.profile
    assert late.warm_up == 0


def test_verdicts() -> None:
    right, wrong = records([0.01] * 99), records([0.01], kind=Kind.WRONG)
    both = np.concatenate([right, wrong])
    assert run_json(load(right), "a", ())["verdict"] == GOOD
    assert run_json(load(both), "a", ())["verdict"] == BAD
    assert run_json(load(both), "a", parse("errors<2%"))["verdict"] == GOOD
    assert run_json(load(both), "a", parse("refused<2%"))["verdict"] == BAD  # wrong answers are never implied
    assert run_json(load(right), "a", parse("p99<5ms"))["verdict"] == BAD
    assert run_json(load(right, busy=0.97), "a", parse("p99<5ms"))["verdict"] == INVALID
    assert run_json(load(right, busy=0.97), "a", ())["verdict"] == INVALID
    assert run_json(load(right, busy=0.97, open_load=False), "a", ())["verdict"] == GOOD  # it only asks less
    assert run_json(load(figures.empty()), "a", ())["verdict"] == BAD
    interrupted = load(right)
    interrupted.interrupted = "interrupted by Ctrl-C"
    assert run_json(interrupted, "a", ())["verdict"] == INTERRUPTED


def test_failures_are_told_by_kind_and_in_words() -> None:
    both = np.concatenate([records([0.01] * 9), records([0.01] * 3, kind=Kind.WRONG), records([0.01], kind=Kind.LOST)])
    told = run_json(load(both), "a", ())["failures"]
    assert [(failure["kind"], failure["count"]) for failure in told] == [("wrong", 3), ("lost", 1)]
    assert told[0]["examples"] == ["expected 1, found 2"]
