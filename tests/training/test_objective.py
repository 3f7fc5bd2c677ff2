import pytest
import torch
from torch.nn import functional

from models.tasks import Classification, Novelty, Regression, Task
from training import objective


def test_the_loss_of_a_classifier_is_cross_entropy_smoothed_where_asked() -> None:
    found, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    task = Classification(3, "scores")
    torch.testing.assert_close(objective.losses(task, found, target).mean(), functional.cross_entropy(found, target))
    smoothed = objective.losses(task, found, target, label_smoothing=0.1).mean()
    torch.testing.assert_close(smoothed, functional.cross_entropy(found, target, label_smoothing=0.1))


def test_the_loss_of_a_number_is_the_square_of_its_error_in_scales() -> None:
    losses = objective.losses(
        Regression("price", "USD", scale=100.0), torch.tensor([150.0, 50.0]), torch.tensor([50.0, 50.0])
    )
    torch.testing.assert_close(losses, torch.tensor([1.0, 0.0]))


def test_the_loss_of_a_novelty_is_what_it_says_itself_whatever_the_target() -> None:
    found = torch.tensor([0.5, 2.0])
    assert objective.losses(Novelty("novelty"), found, torch.tensor([0, 1])) is found


@pytest.mark.parametrize(
    ("task", "better", "worse"),
    [
        (Classification(3, "scores"), {"accuracy": 0.9, "loss": 0.3}, {"accuracy": 0.9, "loss": 0.4}),
        (Classification(3, "scores"), {"accuracy": 0.9, "loss": 0.4}, {"accuracy": 0.8, "loss": 0.3}),
        (Regression("price", "USD"), {"rmse": 1.0, "loss": 9.0}, {"rmse": 2.0, "loss": 1.0}),
        (Novelty("novelty"), {"loss": 0.1}, {"loss": 0.2}),
    ],
)
def test_merit(task: Task, better: dict[str, float], worse: dict[str, float]) -> None:
    assert objective.merit(task, better) > objective.merit(task, worse)


def test_what_is_measured_has_a_value_after_a_batch() -> None:
    numbers = objective.metrics(Regression("price", "USD"))
    numbers.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert float(numbers.compute()["rmse"]) == pytest.approx(2**0.5)
    assert objective.metrics(Novelty("novelty")).compute() == {}
