from dataclasses import replace
from typing import cast

import lightning.pytorch as lightning
import pytest
import torch

from tests.training import toys
from training.best import BestWeights, Patience
from training.task import VALIDATION, Task
from training.train import train


class Trainer:
    """As much of Lightning's as the callback looks at."""

    def __init__(self) -> None:
        self.current_epoch = 0
        self.should_stop = False
        self.callback_metrics: dict[str, torch.Tensor] = {}


def run(merits: list[tuple[float, float]]) -> tuple[BestWeights, Task]:
    """Validate once for each (accuracy, loss); epoch n leaves all biases at n."""
    best, task, trainer = BestWeights(), Task(toys.spec(), toys.RECIPE), Trainer()
    task.trainer = cast(lightning.Trainer, trainer)
    network = cast(toys.Network, task.network)
    for epoch, (accuracy, loss) in enumerate(merits):
        trainer.current_epoch = epoch
        metrics = {f"{VALIDATION}accuracy": accuracy, f"{VALIDATION}loss": loss, "loss": 9.0}
        trainer.callback_metrics = {name: torch.tensor(value) for name, value in metrics.items()}
        with torch.no_grad():
            network.linear.bias.fill_(epoch + 1)
        best.on_validation_end(task.trainer, task)
    best.on_fit_end(task.trainer, task)
    return best, task


@pytest.mark.parametrize(
    ("merits", "epoch"),
    [
        ([(0.5, 1.0)], 1),
        ([(0.5, 1.0), (0.9, 2.0), (0.8, 0.1)], 2),
        ([(0.9, 1.0), (0.9, 0.5), (0.9, 0.7)], 2),
        ([(0.9, 0.5), (0.9, 0.5), (0.8, 0.1)], 2),
    ],
)
def test_the_weights_of_the_best_epoch_are_put_back(merits: list[tuple[float, float]], epoch: int) -> None:
    best, task = run(merits)
    assert best.epoch == epoch
    assert cast(toys.Network, task.network).linear.bias.tolist() == [epoch] * 3
    accuracy, loss = merits[epoch - 1]
    assert best.scores == {"accuracy": pytest.approx(accuracy), "loss": pytest.approx(loss)}


def test_it_serves_tasks_only() -> None:
    module = lightning.LightningModule()
    with pytest.raises(TypeError, match="module: expected a Task, found LightningModule"):
        BestWeights().on_fit_end(cast(lightning.Trainer, Trainer()), module)


@pytest.mark.parametrize(
    ("patience", "best_epoch", "done", "stops"),
    [(0, 1, 900, False), (2, 3, 4, False), (2, 3, 5, True), (2, 3, 9, True), (1, 1, 1, False)],
)
def test_patience_ends_so_many_epochs_after_the_best(patience: int, best_epoch: int, done: int, stops: bool) -> None:
    best, trainer = BestWeights(), Trainer()
    best.epoch = best_epoch
    for current, hook in ((done - 1, "on_train_epoch_end"), (done, "on_train_start")):
        trainer.current_epoch, trainer.should_stop = current, False
        getattr(Patience(patience, best), hook)(trainer, None)
        assert trainer.should_stop == stops


def test_training_stops_once_it_gets_no_better() -> None:
    epochs: list[int] = []

    class Count(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            epochs.append(trainer.current_epoch)

    recipe = replace(toys.RECIPE, epochs=60, patience=3, learning_rate=0.2, schedule="constant")
    trained = train(toys.spec(), recipe, device="cpu", callbacks=[Count()])
    assert len(epochs) == trained.epoch + 3 < 60
