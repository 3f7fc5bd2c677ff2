"""Two models on the same samples: is one better, or does what they differ by lie within chance?

Both are asked about every sample, so the test is a paired one. Decisions: McNemar's exact test. Numbers and novelty: the
bootstrap's interval of the difference, both models on the same draws.
"""

from dataclasses import dataclass

import numpy as np

from models.tasks import Classification, Novelty, Regression, Task
from models.tensors import Array
from training import bootstrap, mcnemar, scores

#: What chance may be said to explain: a difference is shown where its probability by chance is below.
_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two models differ by in the score that decides, the second minus the first, and whether that shows anything.

    `better` is 0 for the first, 1 for the second, None where no difference is shown. Of decisions there are `only_right`,
    how many only the first and only the second has right, and McNemar's `p_value`; else `low` and `high`, the 95 % interval.
    """

    metric: str
    unit: str | None
    test: str
    difference: float
    better: int | None
    p_value: float | None = None
    only_right: tuple[int, int] | None = None
    low: float | None = None
    high: float | None = None


def compare(task: Task, first: Array, second: Array, targets: Array) -> Comparison:
    """Compare two models' answers, in rows of the same samples."""
    match task:
        case Classification():
            return _of_classes(first, second, targets)
        case Regression():
            return _of_numbers(first, second, targets, task.unit)
        case Novelty():
            return _of_novelty(task, first, second, targets)


def verdict(found: Comparison, names: tuple[str, str]) -> str:
    """Return in one sentence whether one is better, with the figure that says so."""
    if found.p_value is not None and found.only_right is not None:
        one, other = found.only_right
        figure = f"p = {found.p_value:.3g}; only the first is right on {one:,} samples, only the second on {other:,}"
    else:
        bounds = (found.difference, found.low or 0.0, found.high or 0.0)
        value, low, high = (scores.number(bound, found.unit) for bound in bounds)
        unit = " %" if found.unit is None else f" {found.unit}".rstrip()
        figure = f"second minus first: {found.metric} {value}{unit}, 95 % interval {low} to {high}{unit}"
    said = "no difference shown at 95 %" if found.better is None else f"{names[found.better]} is better"
    return f"{said} ({found.test}: {figure})"


def _of_classes(first: Array, second: Array, targets: Array) -> Comparison:
    one, other = (answers.argmax(axis=1) == targets for answers in (first, second))
    only = int(np.count_nonzero(one & ~other)), int(np.count_nonzero(other & ~one))
    p_value = mcnemar.p_value(*only)
    better = None if p_value >= _CHANCE else int(only[1] > only[0])
    difference = float(other.mean() - one.mean())
    return Comparison("accuracy", None, "McNemar's exact test", difference, better, p_value=p_value, only_right=only)


def _of_numbers(first: Array, second: Array, targets: Array, unit: str) -> Comparison:
    one, other = (answers.astype(np.float64) - targets for answers in (first, second))

    def difference(rows: Array) -> float:
        return scores.rmse(other[rows]) - scores.rmse(one[rows])

    samples = len(targets)
    low, high = bootstrap.interval(difference, samples)
    better = 0 if low > 0 else 1 if high < 0 else None  # the smaller error is the better one
    found = difference(np.arange(samples))
    return Comparison("rmse", unit, "paired bootstrap", found, better, low=low, high=high)


def _of_novelty(task: Novelty, first: Array, second: Array, targets: Array) -> Comparison:
    gain = scores.drop(task, second, first, targets)
    low, high = bootstrap.interval(gain, len(targets), strata=targets)
    better = 1 if low > 0 else 0 if high < 0 else None
    return Comparison("auroc", None, "paired bootstrap", gain(np.arange(len(targets))), better, low=low, high=high)
