import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.spec import Classification
from training.evaluate import evaluate, proportion

TASK = Classification(3)


def batch(labels: list[int]) -> tuple[dict[str, Tensor], Tensor]:
    return {"x": torch.zeros(len(labels), 2)}, torch.tensor(labels)


def always_one(inputs: dict[str, Tensor]) -> Tensor:
    return torch.tensor([[0.1, 0.8, 0.1]]).expand(len(inputs["x"]), 3)


def test_accuracy_is_counted_over_all_batches() -> None:
    score = evaluate(always_one, [batch([1, 1, 0, 2]), batch([1])], TASK)["accuracy"]
    assert (score.value, score.samples) == (3 / 5, 5)


def test_what_is_no_score_for_each_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predict: expected shape \[2, 3\], found \[2, 2\]"):
        evaluate(lambda inputs: inputs["x"], [batch([0, 1])], TASK)


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
