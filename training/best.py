"""The best weights of a run: kept in memory when a validation beats all before it, and put back when training ends."""

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


def _task(module: lightning.LightningModule) -> Task:
    if not isinstance(module, Task):
        raise TypeError(f"module: expected a Task, found {type(module).__name__}")
    return module
