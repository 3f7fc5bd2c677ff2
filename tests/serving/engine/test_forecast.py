"""The forecast: what runs, and that its quick sum promises nothing that the exact one would not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.forecast import Forecast

ROWS = 8


@given(
    measured=st.lists(st.tuples(st.integers(1, ROWS), st.floats(0.001, 1.0)), min_size=1, max_size=10),
    running=st.lists(st.tuples(st.integers(1, ROWS), st.floats(0.0, 2.0)), min_size=1, max_size=4),
    waiting=st.integers(0, 64),
)
def test_the_worst_is_never_better_than_the_estimate(
    measured: list[tuple[int, float]], running: list[tuple[int, float]], waiting: int
) -> None:
    forecast = Forecast(ROWS)
    for rows, seconds in measured:
        forecast.rate.observe(rows, seconds)
    for taker, (rows, ago) in enumerate(running, start=1):
        forecast.begin(taker, rows, 100.0 - ago, 100.0 - ago)
    batches = int(waiting / forecast.rate.fill)
    exact = forecast.starts_in(batches, idle=0, now=100.0) + forecast.rate.seconds(1) + forecast.rate.reserve_seconds
    assert forecast.at_worst(waiting, 100.0) >= exact - 1e-9


def test_a_batch_taken_behind_another_runs_when_that_one_has_ended() -> None:
    forecast = Forecast(ROWS)
    forecast.finished(7, ROWS, 1.0, now=0.0)
    forecast.begin(7, ROWS, 10.0, 10.0)
    forecast.begin_behind(7, ROWS, 10.0)
    assert forecast.starts_in(0, idle=0, now=10.0) == pytest.approx(1.0)
    forecast.finished(7, ROWS, 1.0, now=11.0)
    assert forecast.starts_in(0, idle=0, now=11.0) == pytest.approx(1.0)  # the one behind it, to the end
    forecast.leave(7)
    assert forecast.nothing_runs


def test_how_late_batches_end_becomes_a_reserve() -> None:
    forecast = Forecast(ROWS)
    forecast.finished(1, ROWS, 1.0, now=0.0)
    assert forecast.rate.reserve_seconds == 0
    forecast.begin(1, ROWS, 1.0, now=1.5)
    forecast.finished(1, ROWS, 1.0, now=2.5)
    assert forecast.rate.reserve_seconds == pytest.approx(6.0 * 0.1 * 0.5)
