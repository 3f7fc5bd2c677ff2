import numpy as np
import pytest

from models.tensors import Array
from training import bootstrap

VALUES = np.random.default_rng(0).normal(0, 1, 400)


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    low, high = bootstrap.interval(lambda rows: float(VALUES[rows].mean()), 400)
    half = 1.96 * VALUES.std() / 20
    assert low == pytest.approx(VALUES.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(VALUES.mean() + half, abs=0.1 * half)


def test_what_two_models_share_cancels_in_a_paired_draw() -> None:
    other = VALUES + 0.01
    low, high = bootstrap.interval(lambda rows: float(other[rows].mean() - VALUES[rows].mean()), 400)
    assert low == pytest.approx(0.01)
    assert high == pytest.approx(0.01)


def test_strata_keep_their_sizes_and_the_seed_its_interval() -> None:
    strata = np.array([0] * 390 + [1] * 10)
    seen = []

    def of(rows: Array) -> float:
        seen.append(int(strata[rows].sum()))
        return float(VALUES[rows].mean())

    assert bootstrap.interval(of, 400, strata=strata, resamples=50) == bootstrap.interval(
        of, 400, strata=strata, resamples=50
    )
    assert set(seen) == {10}


def test_no_samples_have_no_interval() -> None:
    with pytest.raises(ValueError, match="samples: expected 1 or more, found 0"):
        bootstrap.interval(lambda rows: 0.0, 0)
