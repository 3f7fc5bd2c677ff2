"""Task: the one LightningModule, for every ModelSpec. It knows no model by name, only what kind of task a spec names.

Loss and scores stand in objective.py, the optimizer and its schedule in optimize.py; the loop around them is Lightning's.
"""

import math

import lightning.pytorch as lightning
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from models.spec import ModelSpec, Recipe
from training import objective
from training.devices import gathered
from training.loaders import Batch, Shares
from training.optimize import optimizer_of, schedule_of

#: How the names of the scores on the validation split begin, among all that is logged.
VALIDATION = "validation_"

#: So many samples of a batch are named: enough to look at, few enough to read.
_NAMED = 8


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
        found = self.network(**inputs).float()  # of half as many bits, where the precision is mixed
        return objective.losses(self.spec.task, found, target, label_smoothing=self.recipe.label_smoothing).mean()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch; raise TrainingError, in all processes, once one of them has no number."""
        loss = self.loss_of(batch)
        value = float(loss.detach())
        # Who stopped alone would leave the others waiting for its gradients for ever. The copy is summed in place.
        if not math.isfinite(float(self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="sum"))):
            messages = gathered(None if math.isfinite(value) else self._broken(value, index))
            raise TrainingError(next(message for message in messages if message is not None))
        self.log("loss", value, on_step=False, on_epoch=True, batch_size=len(batch[1]), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Take one batch into the scores of the validation split."""
        inputs, target = batch
        found = self.network(**inputs).float()
        self.metrics.update(found, target)
        self.loss.update(objective.losses(self.spec.task, found, target))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole split as `validation_<score>`; raise TrainingError where the network is broken."""
        loss = self.loss.compute()
        if not math.isfinite(float(loss)):
            place = f"validation after epoch {self.current_epoch + 1}"
            raise TrainingError(f"{place}: the loss is {float(loss)}; {self._remedy()}")
        for name, score in self.metrics.compute().items():
            self.log(f"{VALIDATION}{name}", score, sync_dist=True)
        self.log(f"{VALIDATION}loss", loss, sync_dist=True)
        self.metrics.reset()
        self.loss.reset()

    def _broken(self, loss: float, index: int) -> str:
        """Return where a loss is no number: the step, and its samples by their places in the train split."""
        place = f"epoch {self.current_epoch + 1}, step {index + 1}"
        loader = self.trainer.train_dataloader
        shares = loader.batch_sampler if isinstance(loader, DataLoader) else None
        samples = shares.latest if isinstance(shares, Shares) else []
        some = ", ".join(map(str, samples[:_NAMED])) + (", …" if len(samples) > _NAMED else "")
        return f"{place} (samples {some}): the loss is {loss}; {self._remedy()}"

    def _remedy(self) -> str:
        return f"a learning rate below {self.recipe.learning_rate:g} may help"

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimizer, and its schedule over all steps of the run."""
        optimizer = optimizer_of(self.recipe, self.network)
        schedule = schedule_of(self.recipe, optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
