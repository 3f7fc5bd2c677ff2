"""The worst mistakes: the samples that a model is furthest off on, to be looked at.

What is worst is a matter of the task: a wrong class that the model is sure of, a number far away, a familiar sample that
is found stranger than foreign ones.
"""

from dataclasses import dataclass

import numpy as np

from models.tasks import Classification, Novelty, Regression, Task
from models.tensors import Array
from training.calibration import probabilities

#: How many of a kind are told: a screen of pictures.
MOST = 12


@dataclass(frozen=True, slots=True)
class Mistake:
    """One sample, by its place in the test split: the truth, what was answered, and how far off that is, all in words."""

    sample: int
    truth: str
    answer: str
    remark: str


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Mistakes of one kind, the worst first. `count` is how many there are in all."""

    kind: str
    count: int
    worst: tuple[Mistake, ...]


def mistakes(task: Task, answers: Array, targets: Array, labels: tuple[str, ...]) -> tuple[Mistakes, ...]:
    """Return the worst mistakes, per kind; `labels` name a classification's classes."""
    match task:
        case Classification():
            return (_of_classes(answers, targets, labels),)
        case Regression():
            return (_of_numbers(answers, targets, task.unit),)
        case Novelty():
            return _of_novelty(answers, targets)


def _of_classes(answers: Array, targets: Array, labels: tuple[str, ...]) -> Mistakes:
    """Return the wrong decisions by the probability of the true class, the smallest first: by the loss."""
    chances, decisions = probabilities(answers), answers.argmax(axis=1)
    wrong = np.flatnonzero(decisions != targets)
    of_truth = chances[wrong, targets[wrong]]
    ranked = wrong[np.argsort(of_truth, kind="stable")][:MOST]
    worst = tuple(
        Mistake(
            int(one),
            labels[targets[one]],
            labels[decisions[one]],
            f"{chances[one, decisions[one]]:.1%} sure; of the truth {chances[one, targets[one]]:.1%}",
        )
        for one in ranked
    )
    return Mistakes("wrong decisions, by how sure the model was", len(wrong), worst)


def _of_numbers(answers: Array, targets: Array, unit: str) -> Mistakes:
    errors = answers.astype(np.float64) - targets
    ranked = np.argsort(-np.abs(errors), kind="stable")[:MOST]
    worst = tuple(
        Mistake(int(one), f"{targets[one]:.6g} {unit}", f"{answers[one]:.6g} {unit}", f"{errors[one]:+.6g} {unit}")
        for one in ranked
    )
    return Mistakes("the largest errors", len(errors), worst)


def _of_novelty(answers: Array, targets: Array) -> tuple[Mistakes, Mistakes]:
    """Return familiar samples that are found stranger than some foreign one, and foreign ones found more familiar."""
    familiar, foreign = np.flatnonzero(targets == 0), np.flatnonzero(targets == 1)
    return (
        _ranked("familiar samples found strange", familiar, answers[familiar], answers[foreign], foreign=False),
        _ranked("foreign samples found familiar", foreign, answers[foreign], answers[familiar], foreign=True),
    )


def _ranked(kind: str, samples: Array, own: Array, others: Array, *, foreign: bool) -> Mistakes:
    sign, truth, other = (1, "foreign", "familiar") if foreign else (-1, "familiar", "foreign")
    order = np.argsort(sign * own, kind="stable")
    # How many of the others it lies on the wrong side of; those equal to it by half, as the area under the curve counts.
    beaten = [(float(np.mean(sign * others > sign * own[one]) + np.mean(others == own[one]) / 2), one) for one in order]
    wrong = [(share, one) for share, one in beaten if share > 0]
    worst = tuple(
        Mistake(
            int(samples[one]),
            truth,
            f"{own[one]:.6g}",
            f"{'more familiar' if foreign else 'stranger'} than {share:.1%} of all {other} ones",
        )
        for share, one in wrong[:MOST]
    )
    return Mistakes(kind, len(wrong), worst)
