import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from models.tensors import Array
from training.calibration import BINS, calibration, expected_error, probabilities

CHOICES = np.random.default_rng(0)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def answered(samples: int, *, sharper: float = 1.0) -> tuple[Array, Array]:
    """Return logits and targets drawn from them; with `sharper` above 1 the logits claim more than is true."""
    logits = CHOICES.normal(0, 2, (samples, 4))
    targets = np.array([CHOICES.choice(4, p=row) for row in softmax(logits)])
    return (sharper * logits).astype(np.float32), targets


@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_the_expected_calibration_error_is_that_of_torchmetrics(sharper: float) -> None:
    logits, targets = answered(500, sharper=sharper)
    chances = torch.from_numpy(softmax(logits.astype(np.float64)))
    expected = multiclass_calibration_error(chances, torch.from_numpy(targets), 4, n_bins=BINS, norm="l1")
    assert calibration(logits, targets).error.value == pytest.approx(float(expected), abs=1e-6)


def test_an_error_by_hand() -> None:
    # Two bins: 0.9 sure and half right, 0.5 sure and always right.
    error = expected_error(np.array([0.9, 0.9, 0.5, 0.5]), np.array([1, 0, 1, 1]))
    assert error == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)


def test_a_confidence_of_1_and_of_an_edge_are_in_the_bin_below() -> None:
    chances = np.array([[1.0, 0.0], [0.6, 0.4]])
    bins = calibration(chances, np.array([0, 0])).bins
    assert bins[-1].samples == 1
    (edge,) = [one for one in bins if one.samples and one.high < 1]
    assert edge.low < 0.6 <= edge.high
    assert sum(one.samples for one in bins) == 2
    assert bins[0].accuracy is None


def test_the_brier_score_is_the_mean_squared_distance_to_the_truth() -> None:
    logits, targets = answered(300)
    chances = softmax(logits.astype(np.float64))
    brier = calibration(logits, targets).brier
    assert brier.value == pytest.approx(np.mean(np.sum((chances - np.eye(4)[targets]) ** 2, axis=1)))
    assert brier.low < brier.value < brier.high


def test_what_claims_too_much_is_beyond_chance_and_what_does_not_is_not() -> None:
    boastful, honest = calibration(*answered(800, sharper=3.0)), calibration(*answered(800))
    assert boastful.error.low > boastful.by_chance
    assert honest.error.value < 1.5 * honest.by_chance


@pytest.mark.parametrize("apart", [0.0, 0.05])
def test_the_interval_takes_back_what_chance_adds(apart: float) -> None:
    # Decisions that are right less often than they claim, by the true error; the percentile interval never holds 0.
    choices = np.random.default_rng(0)
    held = 0
    for _ in range(12):
        sure = choices.uniform(0.55, 0.95, 400)
        right = choices.random(400) < sure - apart
        found = calibration(np.stack([sure, 1 - sure], axis=1), np.where(right, 0, 1)).error
        assert found.low <= found.value <= found.high
        held += found.low <= apart <= found.high
    assert held >= 9


def test_probabilities_stay_and_logits_become_some() -> None:
    chances = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(probabilities(chances), chances)
    np.testing.assert_allclose(
        probabilities(np.array([[2.0, 0.0], [1000.0, -1000.0]])), [[0.880797, 0.119203], [1.0, 0.0]], 1e-5
    )
    halves = np.array([[0.2002, 0.7998]], np.float16)  # whose sum is not quite 1
    assert probabilities(halves).sum() == pytest.approx(1)
