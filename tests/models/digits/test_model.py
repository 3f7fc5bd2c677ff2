import pytest
import torch
from torch import Tensor

from models.digits import data, model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(data.samples(32)["image"])


def test_every_number_type_gives_the_same_logits(images: Tensor) -> None:
    network = model.Network().eval()
    expected = network(images)
    for dtype in (torch.int64, torch.float32, torch.float64):
        assert torch.equal(network(images.to(dtype)), expected)


def test_a_network_of_doubles_computes_in_doubles(images: Tensor) -> None:
    network = model.Network().eval()
    single = network(images)
    double = network.double()(images)
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), single, atol=1e-4)


def test_the_constants_are_those_of_the_training_split() -> None:
    train = data.datasets().train
    assert isinstance(train, data.Digits)
    network = model.Network()
    assert float(network.mean) == pytest.approx(float(train.images.float().mean()), abs=0.01)
    assert float(network.std) == pytest.approx(float(train.images.float().std()), abs=0.01)
    assert {"mean", "std"} <= set(network.state_dict())


def test_probabilities_add_up_and_the_class_has_the_largest(images: Tensor) -> None:
    probabilities, decision = model.ServingModule(model.Network())(images)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(images)))
    assert torch.equal(probabilities.argmax(1), decision)


def test_the_serving_module_is_in_evaluation() -> None:
    network = model.Network().train()
    assert not model.ServingModule(network).training
    assert not network.training


def test_augmentation_moves_every_image_its_own_way(images: Tensor) -> None:
    torch.manual_seed(0)
    same = images[:1].expand(8, 28, 28)
    moved = model.augment({"image": same})["image"]
    assert moved.shape == same.shape
    assert len({image.numpy().tobytes() for image in moved}) == 8


def test_augmentation_stays_on_the_scale_and_keeps_the_stroke(images: Tensor) -> None:
    torch.manual_seed(0)
    moved = model.augment({"image": images})["image"]
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 255
    ink = moved.sum((1, 2)) / images.float().sum((1, 2))
    assert float(ink.min()) > 0.6
    assert float(ink.max()) < 1.5


def test_augmentation_brings_in_black_from_outside() -> None:
    torch.manual_seed(0)
    white = torch.full((64, 28, 28), 255, dtype=torch.uint8)
    assert float(model.augment({"image": white})["image"].min()) == 0
