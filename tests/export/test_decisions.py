import pytest
import torch
from torch import Tensor

from export.decisions import Decisions


@pytest.mark.parametrize(
    "decide",
    [
        lambda x: x.argmax(-1),
        lambda x: torch.argmax(x, dim=1),
        lambda x: x.max(1).indices,
        lambda x: x.argmax(1, keepdim=True),
        lambda x: x.argmax(1).unsqueeze(1),
    ],
)
def test_the_scores_behind_an_argmax_are_found(decide) -> None:  # type: ignore[no-untyped-def]
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]])
    with torch.inference_mode(), Decisions() as decisions:
        output = decide(logits * 2)
    scores = decisions.scores(output)
    assert scores is not None
    assert torch.equal(scores, (logits * 2).reshape(*output.shape, 3))


def test_the_candidates_are_moved_to_the_last_axis() -> None:
    maps = torch.randn(2, 3, 4, 4)
    with Decisions() as decisions:
        output = maps.argmax(1)
    scores = decisions.scores(output)
    assert scores is not None
    assert torch.equal(scores.argmax(-1), output)


def test_each_decision_has_its_own_scores() -> None:
    one, other = torch.randn(4, 3), torch.randn(4, 3)
    with Decisions() as decisions:
        first, second = one.argmax(1), other.argmax(1)
    found = [decisions.scores(first), decisions.scores(second)]
    assert [torch.equal(scores, made) for scores, made in zip(found, (one, other), strict=True) if scores is not None] == [
        True
    ] * 2


@pytest.mark.parametrize(
    "derive",
    [
        lambda x: x.argmax(1) + 1,
        lambda x: (x > 0).long(),
        lambda x: x.argmax().reshape(1),
        lambda x: x.reshape(2, 2, 3).argmax(2).T,
    ],
)
def test_what_only_derives_from_a_decision_has_none(derive) -> None:  # type: ignore[no-untyped-def]
    x: Tensor = torch.randn(4, 3)
    with Decisions() as decisions:
        output = derive(x)
    assert decisions.scores(output) is None
