import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from training.confusion import confusion
from training.scores import proportion

CHOICES = np.random.default_rng(0)


def test_it_is_what_scikit_learn_says() -> None:
    targets = CHOICES.integers(0, 4, 300)
    decisions = np.where(CHOICES.random(300) < 0.7, targets, CHOICES.integers(0, 4, 300))
    found = confusion(decisions, targets, 4)
    np.testing.assert_array_equal(found.matrix, confusion_matrix(targets, decisions))
    expected = precision_recall_fscore_support(targets, decisions)
    for kind, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        assert [getattr(one, kind).value for one in found.classes] == pytest.approx(values)
        assert all(getattr(one, kind).low < getattr(one, kind).value < getattr(one, kind).high for one in found.classes)
    assert [one.support for one in found.classes] == list(expected[3])
    assert found.macro_f1.value == pytest.approx(f1_score(targets, decisions, average="macro"))
    assert found.macro_f1.low < found.macro_f1.value < found.macro_f1.high


def test_a_class_that_is_not_there_or_never_named_has_no_score_of_that() -> None:
    # Class 1 is never decided for, class 2 is never there, class 3 is neither.
    found = confusion(np.array([0, 0, 2, 0]), np.array([0, 1, 0, 0]), 4)
    zero, one, two, three = found.classes
    assert (zero.support, zero.decided) == (3, 3)
    assert one.precision is None
    assert one.recall is not None
    assert one.f1 is not None
    assert (one.recall.value, one.f1.value) == (0, 0)
    assert two.recall is None
    assert two.precision is not None
    assert two.precision.value == 0
    assert (three.precision, three.recall, three.f1) == (None, None, None)
    # As scikit-learn's mean: of the three classes that are there or named.
    assert found.macro_f1.value == pytest.approx(f1_score([0, 1, 0, 0], [0, 0, 2, 0], average="macro"))


def test_no_mistake_among_few_samples_is_not_called_certain() -> None:
    targets = np.repeat(np.arange(2), 10)
    f1 = confusion(targets, targets, 2).classes[0].f1
    assert f1 is not None
    low = proportion(10, 10).low
    assert (f1.value, f1.high) == (1, 1)
    assert f1.low == pytest.approx(2 * low / (1 + low))


def test_the_interval_of_f1_holds_the_truth_about_as_often_as_it_says() -> None:
    # A class of half of the samples, found in 90 % and wrongly named in 10 %: its F1 is 0.9.
    held = 0
    for _ in range(300):
        targets = CHOICES.integers(0, 2, 200)
        decisions = np.where(CHOICES.random(200) < 0.9, targets, 1 - targets)
        matrix = np.bincount(targets * 2 + decisions, minlength=4).reshape(2, 2)
        share = proportion(int(matrix[0, 0]), int(matrix[0].sum() + matrix[1, 0]))
        low, high = (2 * bound / (1 + bound) for bound in (share.low, share.high))
        held += low <= 0.9 <= high
    assert held / 300 > 0.9


def test_the_commonest_mistakes_come_first_and_what_is_right_is_none() -> None:
    targets, decisions = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 2])
    assert confusion(decisions, targets, 3).commonest(5) == [(0, 1, 2), (2, 0, 1)]
    assert confusion(decisions, targets, 3).commonest(1) == [(0, 1, 2)]
