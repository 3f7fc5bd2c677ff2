import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score
from torchmetrics.functional.classification import binary_auroc

from models.tasks import Classification, Novelty, Regression
from models.tensors import Array
from training.scores import auroc, proportion, rmse, scores

CHOICES = np.random.default_rng(0)


def test_the_scores_of_numbers_are_those_of_torchmetrics() -> None:
    targets = CHOICES.normal(3, 5, 200).astype(np.float32)
    answers = targets + CHOICES.normal(0, 1, 200).astype(np.float32)
    found = scores(Regression("price", "USD"), answers, targets)
    pair = torch.from_numpy(answers), torch.from_numpy(targets)
    assert list(found) == ["rmse", "mae", "r2"]
    assert found["rmse"].value == pytest.approx(float(mean_squared_error(*pair, squared=False)), rel=1e-5)
    assert found["mae"].value == pytest.approx(float(mean_absolute_error(*pair)), rel=1e-5)
    assert found["r2"].value == pytest.approx(float(r2_score(*pair)), rel=1e-4)
    assert (found["rmse"].unit, found["r2"].unit) == ("USD", "")
    for score in found.values():
        assert score.low < score.value < score.high


def test_the_interval_of_a_mean_is_about_that_of_its_standard_error() -> None:
    targets = np.zeros(1_000)
    answers = np.abs(CHOICES.normal(0, 1, 1_000))
    mae = scores(Regression("price", "USD"), answers, targets)["mae"]
    half = 1.96 * answers.std() / math.sqrt(1_000)
    assert mae.high - mae.low == pytest.approx(2 * half, rel=0.15)
    assert "r2" not in scores(Regression("price", "USD"), answers, targets), "targets without variance explain nothing"


def test_the_area_under_the_curve_is_that_of_torchmetrics_ties_too() -> None:
    targets = CHOICES.integers(0, 2, 300)
    answers = np.round(CHOICES.normal(targets, 1.0), 1).astype(np.float32)
    expected = float(binary_auroc(torch.from_numpy(answers).sigmoid(), torch.from_numpy(targets)))
    found = scores(Novelty("novelty"), answers, targets)["auroc"]
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert found.low < found.value < found.high <= 1


def test_a_perfect_order_has_the_area_1_and_the_reverse_0() -> None:
    targets = np.array([0, 0, 1, 1])
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), targets) == 1
    assert auroc(-np.array([1.0, 2.0, 3.0, 4.0]), targets) == 0
    assert auroc(np.ones(4), targets) == 0.5


@pytest.mark.parametrize("targets", [np.zeros(3, np.int64), np.ones(3, np.int64)])
def test_an_area_needs_both_kinds(targets: Array) -> None:
    with pytest.raises(ValueError, match="familiar and foreign"):
        auroc(np.arange(3.0), targets)


def test_the_root_of_the_mean_square() -> None:
    assert rmse(np.array([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"answers: expected shape \[4, 3\], found \[4\]"):
        scores(Classification(3, "scores"), np.zeros(4), np.zeros(4))
    with pytest.raises(ValueError, match=r"answers: expected shape \[4\], found \[4, 1\]"):
        scores(Regression("price", "USD"), np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize(
    ("successes", "samples", "low", "high"),
    [  # from the table in Newcombe (1998), "Two-sided confidence intervals for the single proportion", method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(successes: int, samples: int, low: float, high: float) -> None:
    score = proportion(successes, samples)
    assert score.low == pytest.approx(low, abs=5e-5)
    assert score.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_score_and_stays_a_proportion(counts: tuple[int, int]) -> None:
    score = proportion(*counts)
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert score.low < score.high


@pytest.mark.parametrize(("successes", "samples"), [(0, 0), (2, 1), (-1, 5)])
def test_counts_that_cannot_be_are_refused(successes: int, samples: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        proportion(successes, samples)
