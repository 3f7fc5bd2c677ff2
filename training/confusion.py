"""Confusion: which classes are taken for which, and per class how often its name is right and how often it is found."""

from dataclasses import dataclass

import numpy as np

from models.tensors import Array
from training import bootstrap
from training.scores import Score, proportion


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class. `support` samples are of it, `decided` were taken for it; a score without samples is None.

    precision   of those taken for it, the share that is of it
    recall      of those of it, the share that was taken for it
    f1          the harmonic mean of both
    """

    support: int
    decided: int
    precision: Score | None
    recall: Score | None
    f1: Score | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """All decisions. `matrix` counts them, INT64 [truth, decision]; `macro_f1` is the mean of all classes' F1."""

    matrix: Array
    classes: tuple[ClassScores, ...]
    macro_f1: Score

    def commonest(self, most: int) -> list[tuple[int, int, int]]:
        """Return the commonest mistakes, as truth, decision and how many."""
        wrong = self.matrix * (1 - np.eye(len(self.matrix), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [divmod(int(place), len(wrong)) for place in order]
        return [(truth, decision, int(wrong[truth, decision])) for truth, decision in pairs if wrong[truth, decision]]


def confusion(decisions: Array, targets: Array, classes: int) -> Confusion:
    """Return what became of the samples of each class, `decisions` and `targets` INT64 [N] of 0 to classes − 1.

    Precision and recall are shares, with Wilson's interval. A class that is neither there nor named has no F1, and no part
    in the mean; the mean's interval is the bootstrap's, each class drawn from itself.
    """
    cells = targets.astype(np.int64) * classes + decisions
    matrix = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    support, decided, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diagonal(matrix)
    there = support + decided > 0

    def mean(rows: Array) -> float:
        counted = np.bincount(cells[rows], minlength=classes * classes).reshape(classes, classes)
        named = counted.sum(axis=0) + counted.sum(axis=1)
        return float((2 * np.diagonal(counted)[there] / np.maximum(named[there], 1)).mean())

    samples = len(targets)
    per_class = tuple(
        ClassScores(
            support=int(support[one]),
            decided=int(decided[one]),
            precision=proportion(int(right[one]), int(decided[one])) if decided[one] else None,
            recall=proportion(int(right[one]), int(support[one])) if support[one] else None,
            f1=_f1(int(right[one]), int(support[one]), int(decided[one])) if there[one] else None,
        )
        for one in range(classes)
    )
    macro = Score(mean(np.arange(samples)), *bootstrap.interval(mean, samples, strata=targets), samples)
    return Confusion(matrix, per_class, macro)


def _f1(right: int, support: int, decided: int) -> Score:
    """Return F1, 2 TP / (2 TP + FP + FN) (van Rijsbergen, Information Retrieval, 1979, chapter 7), with its interval.

    It is 2 F* / (1 + F*) of the share F* = TP / (TP + FP + FN), and its interval is Wilson's of F*, put through the same
    formula ("Wilson indirect", https://arxiv.org/abs/2309.14621). Where nothing is wrong a bootstrap would call F1 certain.
    """
    share = proportion(right, support + decided - right)
    value, low, high = (2 * bound / (1 + bound) for bound in (share.value, share.low, share.high))
    return Score(value, low, high, share.samples)
