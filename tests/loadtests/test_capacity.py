"""The search for a capacity, against servers of which it is known, sharp and soft ones, by simulation."""

import math

import numpy as np
import pytest

from loadtests.capacity import Trial, bracketed, estimate, next_rate


def search(capacity: float, *, start: float, width: float = 0.0, seed: int = 0, trials: int = 24) -> list[Trial]:
    """Run a search against a server that keeps its objective below the capacity, more or less."""
    random, found = np.random.default_rng(seed), list[Trial]()
    for _ in range(trials):
        rate = next_rate(found, start)
        chance = float(rate < capacity) if not width else 1 / (1 + math.exp((math.log(rate / capacity)) / width))
        found.append(Trial(rate, bool(random.random() < chance)))
    return found


@pytest.mark.parametrize("start", [1.0, 90.0, 110.0, 20_000.0])
def test_a_sharp_capacity_is_found_from_anywhere(start: float) -> None:
    known = estimate(search(100.0, start=start, trials=30))
    assert known.low < 100 < known.high
    assert known.precision < 0.05


def test_bracketing_goes_up_after_a_trial_that_kept_and_down_after_one_that_missed() -> None:
    assert next_rate([], 10) == 10
    assert next_rate([Trial(10, kept=True)], 10) == pytest.approx(16)
    assert next_rate([Trial(10, kept=False)], 10) == pytest.approx(6.25)
    assert not bracketed([Trial(10, kept=True), Trial(20, kept=True)])
    assert bracketed([Trial(10, kept=True), Trial(20, kept=False)])
    assert 10 < next_rate([Trial(10, kept=True), Trial(16, kept=False)], 10) < 16


def test_a_trial_that_tells_nothing_of_the_server_is_made_again() -> None:
    before = [Trial(10, kept=True), Trial(16, kept=False)]
    assert next_rate([*before, Trial(12, kept=False, counts=False)], 10) == next_rate(before, 10)
    assert not bracketed([Trial(10, kept=True), Trial(16, kept=False, counts=False)])


def test_the_interval_holds_a_soft_capacity_as_often_as_it_says() -> None:
    holds = 0
    for seed in range(60):
        known = estimate(search(100.0, start=50.0, width=0.08, seed=seed))
        holds += known.low < 100 < known.high
    # 95 % of 60 is 57; fewer than 52 would happen once in a hundred times.
    assert holds >= 52


def test_one_freak_trial_does_not_decide() -> None:
    trials = [Trial(rate, kept=rate < 100) for rate in (50, 80, 90, 95, 98, 102, 105, 110, 120, 160)]
    known = estimate([*trials, Trial(60, kept=False)])
    assert 85 < known.rate < 110


def test_more_trials_tell_more() -> None:
    few, many = (estimate(search(100.0, start=60.0, width=0.05, trials=trials)) for trials in (6, 40))
    assert many.precision < few.precision
