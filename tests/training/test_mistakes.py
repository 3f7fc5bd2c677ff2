import numpy as np

from models.tasks import Classification, Novelty, Regression
from training.mistakes import MOST, mistakes
from training.scores import auroc


def test_the_surest_wrong_decisions_come_first() -> None:
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.01, 0.99]], np.float32)
    (found,) = mistakes(Classification(2, "scores"), answers, np.array([0, 0, 1, 0]), ("ant", "bee"))
    assert found.count == 3
    assert [one.sample for one in found.worst] == [3, 1, 2]
    assert (found.worst[0].truth, found.worst[0].answer) == ("ant", "bee")
    assert found.worst[0].remark == "99.0% sure; of the truth 1.0%"


def test_no_more_are_told_than_a_page_has_room_for() -> None:
    answers = np.tile(np.array([[0.9, 0.1]], np.float32), (100, 1))
    (found,) = mistakes(Classification(2, "scores"), answers, np.ones(100, np.int64), ("ant", "bee"))
    assert (found.count, len(found.worst)) == (100, MOST)


def test_the_largest_errors_come_first_with_their_sign_and_unit() -> None:
    answers, targets = np.array([1.0, 5.0, 3.0], np.float32), np.array([1.5, 1.0, 9.0], np.float32)
    (found,) = mistakes(Regression("price", "USD"), answers, targets, ())
    assert [(one.sample, one.remark) for one in found.worst] == [(2, "-6 USD"), (1, "+4 USD"), (0, "-0.5 USD")]
    assert (found.worst[0].truth, found.worst[0].answer) == ("9 USD", "3 USD")


def test_novelty_has_mistakes_of_both_kinds_and_their_shares_are_the_curve() -> None:
    answers, targets = np.array([1.0, 4.0, 2.0, 3.0, 5.0, 4.0]), np.array([0, 0, 0, 1, 1, 1])
    familiar, foreign = mistakes(Novelty("novelty"), answers, targets, ())
    assert [one.sample for one in familiar.worst] == [1]
    assert familiar.worst[0].remark == "stranger than 50.0% of all foreign ones"  # above 3, equal to 4, below 5
    assert [one.sample for one in foreign.worst] == [3, 5]
    assert foreign.worst[0].remark == "more familiar than 33.3% of all familiar ones"
    wrong = (0.5 + 0 + 0) / 3  # the mean share of foreign ones that a familiar one is above
    assert auroc(answers, targets) == 1 - wrong


def test_a_perfect_order_has_no_mistakes() -> None:
    found = mistakes(Novelty("novelty"), np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]), ())
    assert [(kind.count, kind.worst) for kind in found] == [(0, ()), (0, ())]
