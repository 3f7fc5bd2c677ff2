"""Levels over time, and the arrivals that they mean."""

import itertools

import numpy as np
import pytest

from loadtests.shapes import SHAPES, Corner, Profile, make


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("poisson", [True, False])
def test_as_many_arrive_as_the_area_says(shape: str, poisson: bool) -> None:
    profile = make(shape, 100, 20, warm_up=2)
    area = sum(
        (after.level + before.level) / 2 * (after.seconds - before.seconds)
        for before, after in itertools.pairwise(profile.corners)
    )
    arrivals = list(profile.arrivals(poisson=poisson, seed=3))
    assert arrivals == sorted(arrivals)
    assert all(0 <= moment < profile.seconds for moment in arrivals)
    # A Poisson count is off by four standard deviations once in 16,000 seeds, and this is one seed.
    assert abs(len(arrivals) - area) <= (4 * area**0.5 if poisson else 1)


def test_constant_arrivals_are_equally_far_apart() -> None:
    gaps = np.diff(list(make("steady", 50, 10).arrivals(poisson=False)))
    assert np.allclose(gaps, 0.02)


def test_poisson_gaps_are_as_spread_as_they_should_be() -> None:
    gaps = np.diff(list(make("steady", 100, 100).arrivals(seed=1)))
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)  # of an exponential distribution both are the same


def test_the_same_seed_gives_the_same_arrivals_and_another_others() -> None:
    profile = make("ramp", 100, 5)
    assert list(profile.arrivals(seed=(1, 2))) == list(profile.arrivals(seed=(1, 2)))
    assert list(profile.arrivals(seed=(1, 2))) != list(profile.arrivals(seed=(1, 3)))


def test_shares_of_constant_arrivals_interleave() -> None:
    profile = make("steady", 100, 1)
    halves = [list(profile.arrivals(poisson=False, share=0.5, phase=(number + 0.5) / 2)) for number in range(2)]
    assert np.allclose(np.diff(sorted(halves[0] + halves[1])), 0.01)


def test_a_ramp_has_few_arrivals_first_and_many_last() -> None:
    arrivals = np.array(list(make("ramp", 100, 10).arrivals(poisson=False)))
    assert np.sum(arrivals < 5) == pytest.approx(125, abs=1)
    assert np.sum(arrivals >= 5) == pytest.approx(375, abs=1)


def test_levels() -> None:
    spike = make("spike", 10, 10, warm_up=1, factor=10)
    assert [spike.level(seconds) for seconds in (0.5, 4.9, 5.1, 6.9, 7.1, 11.5)] == [10, 10, 100, 100, 10, 0]
    assert spike.highest == 100
    steps = make("steps", 10, 10, steps=5)
    assert [steps.level(seconds) for seconds in (1, 3, 5, 7, 9)] == [2, 4, 6, 8, 10]
    assert make("ramp", 10, 10).level(5) == 5


def test_a_profile_is_read_as_it_was_written() -> None:
    profile = Profile((Corner(0, 1), Corner(2, 1), Corner(2, 5), Corner(3, 5)), 2)
    assert Profile.from_json(profile.to_json()) == profile


def test_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected one of steady"):
        make("round", 1, 1)
