"""What an evaluation found: of each subject its scores, classes, calibration and worst mistakes; of two, which is better.

The reports (report_terminal.py, report_json.py, report_html.py) only tell it, each in its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.content import LabelContent
from models.spec import DataError, ModelSpec
from models.tasks import Classification, Task
from models.tensors import Array
from training.calibration import Calibration, calibration
from training.checked import CheckedSplit
from training.confusion import Confusion, confusion
from training.evaluate import answers_of
from training.loaders import scoring_loader
from training.mistakes import Mistakes, mistakes
from training.opened import Subject, SubjectError
from training.paired import Comparison, compare, verdict
from training.scores import Score, scores
from training.shown import Shown, shown

#: A score that is recorded and one that is found are the same if they differ by less: sums come out otherwise elsewhere.
_SAME = 1e-4


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found of one subject. Scores begin with those that training tells; `confusion` and `calibration` are a
    classification's. `shown` has the samples of all mistakes, by their place in the split.
    """

    subject: Subject
    answers: Array
    scores: dict[str, Score]
    confusion: Confusion | None
    calibration: Calibration | None
    mistakes: tuple[Mistakes, ...]
    shown: dict[int, Shown]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Subjects of one model, one or two, on its test split. `data` is the data's checksum; `labels` name classes."""

    model: str
    task: Task
    labels: tuple[str, ...]
    data: str
    targets: Array
    findings: tuple[Findings, ...]
    comparison: Comparison | None
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str | None:
        """Which of two subjects is better, in one sentence; None where there is but one."""
        if self.comparison is None:
            return None
        first, second = self.findings
        return verdict(self.comparison, (first.subject.title, second.subject.title))


def evaluate_all(spec: ModelSpec, subjects: Sequence[Subject], data_dir: Path | None) -> Evaluation:
    """Ask one or two subjects about the test split; raise DataError, or SubjectError for answers that are no good."""
    datasets = spec.datasets(data_dir)
    split = CheckedSplit(datasets.test, "test", spec.task)
    if not len(split):
        raise DataError("test split: expected samples, found none")
    labels = labels_of(spec)
    found: list[Findings] = []
    targets = np.empty(0)
    for subject in subjects:
        answers, targets = answers_of(subject.predict, scoring_loader(split))
        found.append(_findings(spec, subject, split, answers, targets, labels))
    notes = [note for subject in subjects for note in subject.notes]
    for one in found:
        notes += _strange(one, datasets.checksum)
    pair = [one.answers for one in found]
    comparison = compare(spec.task, pair[0], pair[1], targets) if len(pair) == 2 else None
    return Evaluation(
        spec.name, spec.task, labels, datasets.checksum, targets, tuple(found), comparison, tuple(dict.fromkeys(notes))
    )


def labels_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return what a classification's classes are called: as people read them, or by number; none of other tasks."""
    if not isinstance(spec.task, Classification):
        return ()
    told = spec.content.output
    if isinstance(told, LabelContent) and len(told.labels) == spec.task.classes:
        return told.labels
    return tuple(map(str, range(spec.task.classes)))


def _findings(
    spec: ModelSpec, subject: Subject, split: CheckedSplit, answers: Array, targets: Array, labels: tuple[str, ...]
) -> Findings:
    broken = ~np.isfinite(answers).reshape(len(answers), -1).all(axis=1)
    if broken.any():
        first = int(np.flatnonzero(broken)[0])
        expected = f"{spec.task.output}: expected finite numbers"
        many = f"{np.count_nonzero(broken):,} of {len(answers):,} samples, the first of them {first}"
        raise SubjectError(f"{subject.title}: {expected}, found others for {many}")
    try:
        found = scores(spec.task, answers, targets)
    except ValueError as error:  # another shape, or a split that lacks what the score needs
        raise SubjectError(f"{subject.title}: {spec.task.output}: {error}") from error
    classes = sureness = None
    if isinstance(spec.task, Classification):
        classes = confusion(answers.argmax(axis=1), targets, spec.task.classes)
        sureness = calibration(answers, targets)
        found |= {"macro_f1": classes.macro_f1, "brier": sureness.brier, "ece": sureness.error}
    worst = mistakes(spec.task, answers, targets, labels)
    samples = sorted({mistake.sample for kind in worst for mistake in kind.worst})
    pictures = {}
    for sample in samples:
        row, _ = split.__getitems__([sample])
        pictures[sample] = shown(spec.content, {name: tensor.numpy() for name, tensor in row.items()})
    return Findings(subject, answers, found, classes, sureness, worst, pictures)


def _strange(found: Findings, data: str) -> list[str]:
    """Return what is not as it was when the subject was trained: its data, or its scores."""
    origin, name = found.subject.origin, found.subject.title
    if origin.data != data:
        trained, here = origin.data[:12], data[:12]
        return [f"{name}: trained on other data (sha256 {trained}…, here {here}…): it may have learnt what it is asked here"]
    return [
        f"{name}: {metric} was {origin.scores[metric]:.4f} when it was trained, and is {score.value:.4f} here"
        for metric, score in found.scores.items()
        if metric in origin.scores and abs(origin.scores[metric] - score.value) > _SAME * max(1.0, abs(score.value))
    ]
