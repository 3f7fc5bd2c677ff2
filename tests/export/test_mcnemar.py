import pytest
from scipy.stats import binomtest

from export.mcnemar import p_value


@pytest.mark.parametrize("split", [(0, 0), (1, 0), (0, 6), (3, 8), (10, 2), (7, 7), (40, 61), (700, 900)])
def test_it_is_the_binomial_test_of_an_even_coin(split: tuple[int, int]) -> None:
    total = sum(split)
    expected = binomtest(split[0], total, 0.5).pvalue if total else 1.0
    assert p_value(*split) == pytest.approx(expected, rel=1e-9)
    assert p_value(*split) == p_value(*reversed(split))


def test_more_samples_than_a_float_has_powers_of_two_are_no_obstacle() -> None:
    assert p_value(2000, 2000) == 1.0
    assert p_value(0, 2000) == 0.0


def test_counts_are_not_negative() -> None:
    with pytest.raises(ValueError, match="expected counts of 0 or more, found -1 and 2"):
        p_value(-1, 2)
