"""Task: the one LightningModule, for every ModelSpec. It knows no model by name, only what kind of task a spec names.

The optimizer and its schedule stand here, loss and scores in objective.py; the loop around them is Lightning's.
"""

import math

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric

from models.spec import ModelSpec, Recipe
from training import objective
from training.loaders import Batch

#: How the names of the scores on the validation split begin, among all that is logged.
VALIDATION = "validation_"

#: The share of the steps in which the learning rate rises: batch normalisation carries a short rise, and the long fall
#: after it is what sharpens the weights.
_RISING = 0.25


class TrainingError(Exception):
    """Training could not go on; the message says where it was and what may help."""


def validation_scores(trainer: lightning.Trainer) -> dict[str, float]:
    """Return the latest scores on the validation split, under their short names."""
    metrics = trainer.callback_metrics.items()
    return {name.removeprefix(VALIDATION): float(value) for name, value in metrics if name.startswith(VALIDATION)}


class Task(lightning.LightningModule):
    """A network in training: how a batch becomes a loss, and how the network is judged on the validation split."""

    def __init__(self, spec: ModelSpec, recipe: Recipe) -> None:
        super().__init__()
        self.spec = spec
        self.recipe = recipe
        self.network: nn.Module = spec.build()
        self.metrics = objective.metrics(spec.task)
        self.loss = MeanMetric(nan_strategy="disable")  # torchmetrics' default leaves NaN out of the mean

    def merit(self) -> tuple[float, ...]:
        """Return how good the last validation was, to be compared: the larger is better, the first that differs decides."""
        return objective.merit(self.spec.task, validation_scores(self.trainer))

    def loss_of(self, batch: Batch) -> Tensor:
        """Return the loss to be made smaller, on augmented samples and smoothed labels."""
        inputs, target = batch
        if self.spec.augment is not None:
            inputs = self.spec.augment(inputs)
        found = self.network(**inputs)
        return objective.losses(self.spec.task, found, target, label_smoothing=self.recipe.label_smoothing).mean()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch; raise TrainingError once it is no longer a number."""
        loss = self.loss_of(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            place = f"epoch {self.current_epoch + 1}, step {index + 1}"
            raise TrainingError(f"{place}: the loss is {value}; {self._remedy()}")
        self.log("loss", value, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Take one batch into the scores of the validation split."""
        inputs, target = batch
        found = self.network(**inputs)
        self.metrics.update(found, target)
        self.loss.update(objective.losses(self.spec.task, found, target))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole split as `validation_<score>`; raise TrainingError where the network is broken."""
        loss = self.loss.compute()
        if not math.isfinite(float(loss)):
            place = f"validation after epoch {self.current_epoch + 1}"
            raise TrainingError(f"{place}: the loss is {float(loss)}; {self._remedy()}")
        for name, score in self.metrics.compute().items():
            self.log(f"{VALIDATION}{name}", score)
        self.log(f"{VALIDATION}loss", loss)
        self.metrics.reset()
        self.loss.reset()

    def _remedy(self) -> str:
        return f"a learning rate below {self.recipe.learning_rate:g} may help"

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with one cycle of the learning rate over all steps.

        Only matrices and kernels decay: pulling a bias or the scale of a normalisation to zero regularises nothing.
        """
        weights = [parameter for parameter in self.network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.network.parameters() if parameter.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.recipe.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, steps, pct_start=_RISING)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
