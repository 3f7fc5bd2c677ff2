"""Evaluation: any function of tensors is asked about a split, and its answers are scored as the model's task says."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from models.spec import ModelSpec
from models.tasks import Task
from models.tensors import Array
from training.loaders import Batch
from training.scores import Score, scores

#: Any function from inputs by name, with a batch axis, to the values of the task's output.
Predict = Callable[[dict[str, Tensor]], Tensor]


def evaluate(predict: Predict, batches: Iterable[Batch], task: Task) -> dict[str, Score]:
    """Return the task's scores over all batches; raise ValueError for answers that are none of the task's."""
    return scores(task, *answers_of(predict, batches))


def answers_of(predict: Predict, batches: Iterable[Batch]) -> tuple[Array, Array]:
    """Return the answers to all samples, in their order, and their targets, one row each."""
    answers, targets = [], []
    with torch.inference_mode():
        for inputs, target in batches:
            answers.append(predict(inputs).cpu())
            targets.append(target)
    return torch.cat(answers).numpy(), torch.cat(targets).numpy()


def predict_with(spec: ModelSpec, network: nn.Module) -> Predict:
    """Return what the model serves of this network, as far as it is scored: the very steps that are exported."""
    module = spec.serving_module(network)
    names = [one.name for one in spec.signature.inputs]
    place = [one.name for one in spec.signature.outputs].index(spec.task.output)

    def predict(inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = module(*(inputs[name] for name in names))[place]
        return found

    return predict
