import itertools
from fractions import Fraction

import pytest

from training.mcnemar import p_value


@pytest.mark.parametrize("split", [(0, 0), (1, 0), (0, 6), (3, 8), (10, 2), (7, 7)])
def test_it_is_the_share_of_coin_tosses_at_least_as_uneven(split: tuple[int, int]) -> None:
    tosses = list(itertools.product((0, 1), repeat=sum(split)))
    uneven = sum(abs(2 * sum(toss) - len(toss)) >= abs(split[0] - split[1]) for toss in tosses)
    assert p_value(*split) == float(Fraction(uneven, len(tosses)))
    assert p_value(*split) == p_value(*reversed(split))


def test_it_is_what_statistics_packages_say() -> None:
    # scipy.stats.binomtest(40, 101, 0.5) and binomtest(700, 1600, 0.5)
    assert p_value(40, 61) == pytest.approx(0.046044066929342785, rel=1e-9)
    assert p_value(700, 900) == pytest.approx(6.319484959450105e-07, rel=1e-9)


def test_more_samples_than_a_float_has_powers_of_two_are_no_obstacle() -> None:
    assert p_value(2000, 2000) == 1.0
    assert p_value(0, 2000) == 0.0


def test_counts_are_not_negative() -> None:
    with pytest.raises(ValueError, match="expected counts of 0 or more, found -1 and 2"):
        p_value(-1, 2)
