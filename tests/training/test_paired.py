import numpy as np
import pytest

from models.tasks import Classification, Novelty, Regression, Task
from models.tensors import Array
from training.mcnemar import p_value
from training.paired import compare, verdict
from training.scores import auroc, rmse

CHOICES = np.random.default_rng(0)
NAMES = ("one", "other")
DECISIONS = Classification(2, "scores")


def one_hot(decisions: Array) -> Array:
    return np.eye(2, dtype=np.float32)[decisions]


def test_decisions_are_compared_by_mcnemars_exact_test() -> None:
    targets = np.zeros(100, np.int64)
    first, second = np.zeros(100, np.int64), np.zeros(100, np.int64)
    first[:20] = 1  # wrong on 20, of which the second has 16 right
    second[16:22] = 1
    found = compare(DECISIONS, one_hot(first), one_hot(second), targets)
    assert found.only_right == (2, 16)
    assert found.p_value == p_value(2, 16)
    assert found.difference == pytest.approx(0.14)
    assert found.better == 1
    assert compare(DECISIONS, one_hot(second), one_hot(first), targets).better == 0
    assert verdict(found, NAMES).startswith(
        "other is better (McNemar's exact test: p = 0.00131; only the first is right on 2 "
    )


def test_a_model_is_not_better_than_itself() -> None:
    targets = CHOICES.integers(0, 2, 50)
    numbers = CHOICES.normal(size=50)
    tasks: list[tuple[Task, Array]] = [
        (DECISIONS, one_hot(targets)),
        (Regression("price", "USD"), numbers),
        (Novelty("novelty"), numbers),
    ]
    for task, answers in tasks:
        found = compare(task, answers, answers, targets)
        assert (found.difference, found.better) == (0, None)
        assert verdict(found, NAMES).startswith("no difference shown at 95 %")


def test_the_smaller_error_is_better() -> None:
    targets = CHOICES.normal(0, 10, 300)
    near, far = targets + CHOICES.normal(0, 1, 300), targets + CHOICES.normal(0, 2, 300)
    found = compare(Regression("price", "USD"), far, near, targets)
    assert found.difference == pytest.approx(rmse(near - targets) - rmse(far - targets))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high < 0
    assert found.better == 1
    assert compare(Regression("price", "USD"), near, far, targets).better == 0
    assert verdict(found, NAMES).startswith("other is better (paired bootstrap: second minus first: rmse -")
    assert " USD, 95 % interval -" in verdict(found, NAMES)


def test_the_larger_area_is_better() -> None:
    targets = CHOICES.integers(0, 2, 300)
    sharp, dull = targets + CHOICES.normal(0, 0.5, 300), targets + CHOICES.normal(0, 3, 300)
    found = compare(Novelty("novelty"), dull, sharp, targets)
    assert found.difference == pytest.approx(auroc(sharp, targets) - auroc(dull, targets))
    assert found.better == 1
    assert compare(Novelty("novelty"), sharp, dull, targets).better == 0


def test_pairs_show_what_two_intervals_would_hide() -> None:
    # The second is a little better on every sample; drawn apart, the samples' own spread would drown that.
    targets = np.zeros(200)
    errors = CHOICES.normal(0, 5, 200)
    found = compare(Regression("price", "USD"), errors, 0.99 * errors, targets)
    assert found.better == 1
