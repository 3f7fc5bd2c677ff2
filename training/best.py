"""The best weights of a run: kept in memory when a validation beats all before it, and put back when training ends.

Whoever has patience waits for so many epochs for a better one, and then stops.
"""

from typing import Any

import lightning.pytorch as lightning
from torch import Tensor

from training.task import Task, validation_scores


class BestWeights(lightning.Callback):
    """Remembers the network as it was after the epoch of the greatest merit, `epoch` (from 1), and its `scores`."""

    def __init__(self) -> None:
        self.epoch = 0
        self.scores: dict[str, float] = {}
        self._merit: tuple[float, ...] = ()  # an empty tuple is less than any other
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Copy the weights if they are the best so far; of equals the later one, which has seen more."""
        task = _task(pl_module)
        merit = task.merit()
        if merit < self._merit:
            return
        self._merit = merit
        self._weights = {name: tensor.detach().clone() for name, tensor in task.network.state_dict().items()}
        self.epoch = trainer.current_epoch + 1
        self.scores = validation_scores(trainer)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the best weights into the network."""
        _task(pl_module).network.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:  # Any, here and below: Lightning's own signature
        """Return what a resumed run has to remember."""
        return {"epoch": self.epoch, "scores": self.scores, "merit": self._merit, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what an earlier part of the run found."""
        self.epoch, self.scores = state_dict["epoch"], state_dict["scores"]
        self._merit, self._weights = state_dict["merit"], state_dict["weights"]


class Patience(lightning.Callback):
    """Stops training once `epochs` epochs in a row were no better than the best before them; 0: never."""

    def __init__(self, epochs: int, best: BestWeights) -> None:
        self._epochs = epochs
        self._best = best

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A run may have been interrupted between its last epoch and its end."""
        self._judge(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Judge each epoch, after its validation."""
        self._judge(trainer, trainer.current_epoch + 1)

    def _judge(self, trainer: lightning.Trainer, done: int) -> None:
        if self._epochs and done - self._best.epoch >= self._epochs:
            trainer.should_stop = True


def _task(module: lightning.LightningModule) -> Task:
    if not isinstance(module, Task):
        raise TypeError(f"module: expected a Task, found {type(module).__name__}")
    return module
