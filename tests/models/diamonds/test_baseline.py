from pathlib import Path

import numpy as np
import pytest
import torch

from models.diamonds import SPEC, baseline, data
from models.diamonds.table import Stones
from training import checkpoint
from training.origin import origin_of
from training.scores import rmse


@pytest.fixture(scope="module")
def splits() -> tuple[data.Diamonds, data.Diamonds, data.Diamonds]:
    return data.splits()


def some(split: data.Diamonds, rows: slice) -> data.Diamonds:
    stones = Stones(split.numbers[rows].numpy(), split.grades[rows].numpy(), split.prices[rows].numpy())
    return data.Diamonds(stones, split.identities[rows])


def test_linear_regression_is_least_squares(splits: tuple[data.Diamonds, ...]) -> None:
    """Its answers once more from a pseudo-inverse, with an indicator for every grade; nothing of scikit-learn is in this."""
    learnt, asked = some(splits[0], slice(2_000)), some(splits[0], slice(2_000, 2_100))

    def design(split: data.Diamonds) -> np.ndarray:
        grades = [np.eye(size)[split.grades[:, place].numpy()] for place, size in enumerate((5, 7, 8))]
        return np.column_stack([split.numbers.numpy().astype(np.float64), *grades])

    # All indicators of a kind sum to one: of the many solutions the pseudo-inverse has one, and all answer alike.
    weights = np.linalg.pinv(design(learnt)) @ learnt.prices.numpy().astype(np.float64)
    assert np.allclose(baseline.linear([learnt])(asked), design(asked) @ weights, atol=0.5)


def test_logarithms_find_a_power_law(splits: tuple[data.Diamonds, ...]) -> None:
    given = some(splits[0], slice(2_000))
    prices = 3_000 * given.numbers[:, 0] ** 1.7 * 1.1 ** given.grades[:, 2]
    made = data.Diamonds(Stones(given.numbers.numpy(), given.grades.numpy(), prices.numpy()), given.identities)
    assert np.allclose(baseline.linear_of_logarithms([made])(made), prices.numpy(), rtol=1e-3)


def test_the_baselines_are_as_good_as_the_card_says(splits: tuple[data.Diamonds, ...]) -> None:
    train, validation, test = splits
    prices = test.prices.numpy()
    found = {name: rmse(fit([train, validation])(test) - prices) for name, fit in baseline.BASELINES.items()}
    assert found["linear regression"] == pytest.approx(1_172, abs=2)
    assert found["linear regression of logarithms"] == pytest.approx(829, abs=2)
    assert found["boosted trees"] == pytest.approx(549, abs=8)  # threads may add in another order


def test_an_error_is_that_of_rows_and_its_interval_that_of_stones() -> None:
    random = np.random.default_rng(0)
    errors = np.repeat(random.normal(size=500), 4)
    together, apart = np.repeat(np.arange(500), 4), np.arange(2_000)
    by_stone, by_row = baseline.error([errors], together), baseline.error([errors], apart)
    assert by_stone.value == by_row.value == pytest.approx(rmse(errors))
    # Four rows that err alike tell no more than one: the interval is twice as wide.
    assert (by_stone.high - by_stone.low) / (by_row.high - by_row.low) == pytest.approx(2, rel=0.15)


def test_two_are_compared_on_the_same_draws() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=1_000) * random.choice([0.1, 10], 1_000)
    lead = baseline.error([one * 1.02, one], np.arange(1_000))
    assert lead.value == pytest.approx(0.02 * rmse(one))
    assert 0 < lead.low < lead.value < lead.high
    nothing = baseline.error([one, one], np.arange(1_000))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_program_tells_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = SPEC.build()
    saved = checkpoint.save(network, origin_of(SPEC.name, SPEC.recipe, seed=0, data="d" * 64, scores={}), tmp_path / "one")
    monkeypatch.setattr(baseline, "BASELINES", {"linear regression": baseline.linear})
    assert baseline.main([str(saved.path), "--resamples", "10"]) == 0
    head, _, untrained, linear = capsys.readouterr().out.splitlines()
    assert head.startswith("| | RMSE, USD |")
    assert untrained.startswith("| network | ")
    assert linear.startswith("| linear regression | 1172 (")
    below = int(linear.split("|")[-2].split()[0])
    assert below == pytest.approx(1_172 - int(untrained.split("|")[2].split()[0]), abs=1)


def test_without_a_checkpoint_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"baseline: {tmp_path}/checkpoint.json: not a checkpoint")
    assert shown.err.count("\n") == 1


def test_no_draws_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main(["--resamples", "0"]) == 2
    assert capsys.readouterr().err == "baseline: resamples: expected 1 or more, found 0\n"
