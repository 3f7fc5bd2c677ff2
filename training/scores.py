"""Scores: how good answers are beside the truth, each with the interval that its number of samples allows.

Arrays in, numbers out: the answers may come from a network in training or from an exported file. A score without an
interval cannot be compared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.tasks import Classification, Novelty, Regression, Task
from models.tensors import Array
from training import bootstrap

#: The 97.5 % quantile of the normal distribution: what makes an interval a 95 % one.
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its 95 % confidence interval, and the number of samples that it rests on.

    `unit` is what it is measured in, "" for a plain number, None for a share between 0 and 1.
    """

    value: float
    low: float
    high: float
    samples: int
    unit: str | None = None


def words(name: str, score: Score) -> str:
    """Return a score as people read it, with its interval: a share in percent, a number in its unit."""
    value, low, high = (number(bound, score.unit) for bound in (score.value, score.low, score.high))
    unit = " %" if score.unit is None else f" {score.unit}".rstrip()
    return f"{name} {value}{unit} (95 % interval {low} to {high}{unit}, {score.samples:,} samples)"


def number(value: float, unit: str | None) -> str:
    """Return the digits of a score that is measured in that unit: of a share, those of its percentage."""
    return f"{100 * value:.2f}" if unit is None else f"{value:.4f}"


def scores(task: Task, answers: Array, targets: Array) -> dict[str, Score]:
    """Return every score of the task; the first is the one that decides. Raise ValueError for answers of another shape.

    `answers` are values of the task's output, `targets` as the task says, both with one row for each sample.
    """
    samples = len(targets)
    shape = (samples, task.classes) if isinstance(task, Classification) else (samples,)
    if answers.shape != shape:
        raise ValueError(f"answers: expected shape {list(shape)}, found {list(answers.shape)}")
    match task:
        case Classification():
            return {"accuracy": proportion(int(np.count_nonzero(answers.argmax(axis=1) == targets)), samples)}
        case Regression():
            return _of_numbers(answers.astype(np.float64), targets.astype(np.float64), task.unit)
        case Novelty():
            area, (low, high) = auroc(answers, targets), _interval_of_auroc(answers, targets)
            return {"auroc": Score(area, low, high, samples)}


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


def rmse(errors: Array) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean(np.square(errors))))


def auroc(answers: Array, targets: Array) -> float:
    """Return the area under the ROC curve: the chance that a foreign sample gets more than a familiar one, ties by half.

    It is the Mann-Whitney statistic, computed of ranks (Hanley & McNeil, Radiology 143, 1982).
    """
    foreign = targets == 1
    positives, negatives = int(np.count_nonzero(foreign)), int(np.count_nonzero(~foreign))
    if not positives or not negatives:
        raise ValueError(f"targets: expected familiar and foreign samples, found {negatives} and {positives}")
    _, places, counts = np.unique(answers, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1, those of equals shared
    return float((ranks[foreign].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def drop(task: Task, before: Array, after: Array, targets: Array) -> Callable[[Array], float]:
    """Return how much worse `after` answers than `before`, as a function of the indices of samples.

    In shares: of decisions that are right, of the area under the curve, or by which the root mean square error grows.
    """
    match task:
        case Classification():
            first, second = ((answers.argmax(axis=1) == targets).astype(np.float64) for answers in (before, after))
            return lambda rows: float(first[rows].mean() - second[rows].mean())
        case Regression():
            one, other = (answers.astype(np.float64) - targets for answers in (before, after))
            return lambda rows: rmse(other[rows]) / max(rmse(one[rows]), float(np.finfo(np.float64).tiny)) - 1
        case Novelty():
            return lambda rows: auroc(before[rows], targets[rows]) - auroc(after[rows], targets[rows])


def _of_numbers(answers: Array, targets: Array, unit: str) -> dict[str, Score]:
    """Return the error's root mean square and mean size, in the target's unit, and the share of variance explained."""
    errors, samples = answers - targets, len(targets)

    def explained(rows: Array) -> float:
        return 1 - float(np.mean(np.square(errors[rows])) / np.var(targets[rows]))

    every = np.arange(samples)
    found = {"rmse": Score(rmse(errors), *bootstrap.interval(lambda rows: rmse(errors[rows]), samples), samples, unit)}
    sizes = np.abs(errors)
    found["mae"] = Score(
        float(sizes.mean()), *bootstrap.interval(lambda rows: float(sizes[rows].mean()), samples), samples, unit
    )
    if np.var(targets) > 0:
        found["r2"] = Score(explained(every), *bootstrap.interval(explained, samples), samples, "")
    return found


def _interval_of_auroc(answers: Array, targets: Array) -> tuple[float, float]:
    def of(rows: Array) -> float:
        return auroc(answers[rows], targets[rows])

    return bootstrap.interval(of, len(targets), strata=targets)
