import pytest
import torch
from torch import Tensor

from models.tasks import Classification
from tests.training import toys
from training.evaluate import evaluate, predict_with

TASK = Classification(3, "probabilities")


def batch(labels: list[int]) -> tuple[dict[str, Tensor], Tensor]:
    return {"x": torch.zeros(len(labels), 2)}, torch.tensor(labels)


def always_one(inputs: dict[str, Tensor]) -> Tensor:
    return torch.tensor([[0.1, 0.8, 0.1]]).expand(len(inputs["x"]), 3)


def test_accuracy_is_counted_over_all_batches() -> None:
    score = evaluate(always_one, [batch([1, 1, 0, 2]), batch([1])], TASK)["accuracy"]
    assert (score.value, score.samples) == (3 / 5, 5)


def test_what_is_no_score_for_each_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"answers: expected shape \[2, 3\], found \[2, 2\]"):
        evaluate(lambda inputs: inputs["x"], [batch([0, 1])], TASK)


def test_the_network_is_scored_as_it_is_served() -> None:
    spec = toys.spec()
    network = spec.build().eval()
    inputs = {"image": torch.from_numpy(toys.samples(5)["image"])}
    torch.testing.assert_close(predict_with(spec, network)(inputs), network(**inputs).softmax(-1))
