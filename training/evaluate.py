"""Scores on a split, each with the interval that its number of samples allows: a score without one cannot be compared."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.spec import Classification
from training.loaders import Batch

#: The 97.5 % quantile of the normal distribution: what makes an interval a 95 % one.
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its 95 % confidence interval, and the number of samples that it rests on."""

    value: float
    low: float
    high: float
    samples: int


#: Any function from inputs by name to what a task's network gives.
Predict = Callable[[dict[str, Tensor]], Tensor]


def evaluate(predict: Predict, batches: Iterable[Batch], task: Classification) -> dict[str, Score]:
    """Return the scores over all batches; `predict` gives logits or probabilities, [N, classes]."""
    correct = samples = 0
    with torch.inference_mode():
        for inputs, target in batches:
            scores = predict(inputs)
            if scores.shape != (len(target), task.classes):
                raise ValueError(f"predict: expected shape {[len(target), task.classes]}, found {list(scores.shape)}")
            correct += int((scores.argmax(dim=1).cpu() == target).sum())
            samples += len(target)
    return {"accuracy": proportion(correct, samples)}


def proportion(successes: int, samples: int) -> Score:
    """Return successes / samples with Wilson's interval, which stays within 0 and 1 and holds near 1 where others do not."""
    if not 0 <= successes <= samples or samples < 1:
        raise ValueError(f"successes: expected 0 to {samples} of at least one sample, found {successes}")
    share = successes / samples
    shrink = 1 + _Z**2 / samples
    centre = (share + _Z**2 / (2 * samples)) / shrink
    half = _Z / shrink * math.sqrt(share * (1 - share) / samples + (_Z / (2 * samples)) ** 2)
    # At 0 and at 1 the bound is the share itself, but for rounding.
    return Score(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), samples)
