import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.admission import ServiceRate, remaining, retry_after, starts_in

SIZES = st.integers(1, 64)
TIMES = st.floats(0, 1e4)


def measured(*batches: tuple[int, float]) -> ServiceRate:
    rate = ServiceRate(64)
    for rows, seconds in batches:
        rate.observe(rows, seconds)
    return rate


def test_before_a_batch_nothing_is_known() -> None:
    rate = ServiceRate(8)
    assert not rate.known
    assert rate.seconds(8) == 0.0
    assert rate.fill == 8


@given(fixed=st.floats(1e-4, 1), per_row=st.floats(1e-5, 1), sizes=st.lists(SIZES, min_size=3, max_size=30, unique=True))
def test_batches_of_several_sizes_tell_what_is_fixed_and_what_a_row_costs(
    fixed: float, per_row: float, sizes: list[int]
) -> None:
    rate = measured(*[(rows, fixed + per_row * rows) for rows in sorted(sizes, reverse=True)])
    for rows in (1, 7, 64):
        assert rate.seconds(rows) == pytest.approx(fixed + per_row * rows, rel=1e-3)


@given(st.lists(st.tuples(SIZES, TIMES), min_size=1, max_size=100), SIZES, SIZES)
def test_no_history_makes_a_larger_batch_faster_or_a_row_cost_more_than_its_share(
    history: list[tuple[int, float]], one: int, other: int
) -> None:
    rate = measured(*history)
    small, large = sorted((one, other))
    assert 0 <= rate.seconds(small) <= rate.seconds(large) <= rate.seconds(small) * large / small * (1 + 1e-9) + 1e-12
    assert math.isfinite(rate.seconds(large))


@given(SIZES, st.floats(1e-4, 10), SIZES)
def test_from_batches_of_one_size_the_hopeful_guess_is_made(rows: int, seconds: float, other: int) -> None:
    assert measured(*[(rows, seconds)] * 20).seconds(other) == pytest.approx(seconds)


@given(st.floats(1e-3, 1), st.floats(0, 1e6))
def test_one_outlier_hardly_counts(usual: float, outlier: float) -> None:
    rate = measured(*[(4, usual)] * 20, (4, outlier))
    assert rate.seconds(4) <= 1.71 * usual


@given(st.floats(1e-5, 1), st.floats(1e-5, 1))
def test_a_lasting_change_is_followed(before: float, after: float) -> None:
    rate = measured(*[(4, before)] * 50, *[(4, after)] * 150)
    assert rate.seconds(4) == pytest.approx(after, rel=0.02, abs=1e-6)


def test_a_batch_that_took_no_time_can_be_forgotten() -> None:
    rate = measured((1, 0.0), *[(1, 1.0)] * 100)
    assert rate.seconds(1) == pytest.approx(1.0, rel=0.01)


def test_a_steady_overload_forgets_nothing_of_what_a_row_costs() -> None:
    rate = measured((1, 0.011), (4, 0.014), *[(8, 0.018)] * 1_000)
    assert rate.seconds(8) == pytest.approx(0.018)
    assert rate.seconds(1) == pytest.approx(0.011, rel=0.05)


def test_the_fill_is_that_of_batches_that_leave_others_waiting() -> None:
    rate = ServiceRate(8)
    for _ in range(100):
        rate.observe_fill(5)
    assert rate.fill == pytest.approx(5, rel=0.01)


def test_the_reserve_covers_most_of_what_is_usual_and_is_given_up_again() -> None:
    rate = measured((1, 1.0))
    for _ in range(50):
        rate.observe_end(0.1)
        rate.observe_end(-0.1)
    assert 0.2 < rate.reserve_seconds < 0.4
    for _ in range(50):
        rate.observe_end(0.0)
    assert rate.reserve_seconds < 0.02


def test_one_very_late_batch_makes_no_large_reserve() -> None:
    rate = measured((1, 0.001))
    rate.observe_end(60.0)
    assert rate.reserve_seconds < 0.02


def test_a_late_batch_is_expected_to_be_late_as_long_again() -> None:
    assert remaining(10.0, 9.0) == 1.0
    assert remaining(10.0, 10.0) == 0.0
    assert remaining(10.0, 13.0) == 3.0


def begins(batches: int, busy: list[float], seconds: float) -> float:
    """Say when a batch begins by letting instances take one after the other."""
    free = list(busy)
    for _ in range(batches):
        free.sort()
        free[0] += seconds
    return min(free)


@given(st.integers(0, 50), st.floats(0, 10), st.floats(0.001, 10))
def test_one_instance_takes_one_batch_after_the_other(batches: int, busy: float, seconds: float) -> None:
    assert starts_in(batches, [busy], seconds) == pytest.approx(begins(batches, [busy], seconds))


@given(st.integers(0, 50), st.lists(st.floats(0, 10), min_size=2, max_size=8), st.floats(0.001, 10))
def test_several_instances_begin_no_later_than_said_and_less_than_a_batch_earlier(
    batches: int, busy: list[float], seconds: float
) -> None:
    exact = begins(batches, busy, seconds)
    assert exact - seconds - 1e-9 <= starts_in(batches, busy, seconds) <= exact + 1e-9


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8))
def test_with_nothing_ahead_a_batch_begins_when_the_first_instance_is_free(busy: list[float]) -> None:
    assert starts_in(0, busy, 1.0) == min(busy)


def test_without_an_instance_one_is_assumed() -> None:
    assert starts_in(3, [], 2.0) == 6.0


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5.0, 1), (0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (59.5, 60), (1e12, 86_400), (math.inf, 86_400)]
)
def test_retry_after_is_in_whole_seconds_at_least_one_and_at_most_a_day(seconds: float, said: int) -> None:
    assert retry_after(seconds) == said
