"""Objectives: per kind of task, the loss that is made smaller, what is measured meanwhile, and what counts as better."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from models.tasks import Classification, Novelty, Regression, Task


def losses(task: Task, found: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the loss of each sample, FP32 [N], of what the network gave and its target."""
    match task:
        case Classification():
            return functional.cross_entropy(found, target, label_smoothing=label_smoothing, reduction="none")
        case Regression():
            return ((found - target) / task.scale).square()
        case Novelty():
            return found


def metrics(task: Task) -> MetricCollection:
    """Return what is measured on the validation split after each epoch, besides the loss."""
    match task:
        case Classification():
            return MetricCollection({"accuracy": MulticlassAccuracy(task.classes, average="micro")})
        case Regression():
            return MetricCollection({"rmse": MeanSquaredError(squared=False)})
        case Novelty():
            return MetricCollection({})


def merit(task: Task, scores: Mapping[str, float]) -> tuple[float, ...]:
    """Return how good a validation was, to be compared: the larger is better, the first that differs decides."""
    match task:
        case Classification():
            return scores["accuracy"], -scores["loss"]
        case Regression():
            return (-scores["rmse"],)
        case Novelty():
            return (-scores["loss"],)


def judged_by(task: Task) -> tuple[str, int]:
    """Return the name of the score that merit begins with, and 1 where more of it is better, −1 where less is."""
    match task:
        case Classification():
            return "accuracy", 1
        case Regression():
            return "rmse", -1
        case Novelty():
            return "loss", -1
