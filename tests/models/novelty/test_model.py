import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, kl_divergence

from models.novelty import data, model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(data.samples(16)["image"])


@pytest.fixture(scope="module")
def network() -> model.Network:
    torch.manual_seed(0)
    return model.Network().eval().requires_grad_(False)


def test_every_pixel_is_hidden_by_four_halves_and_shown_by_their_counterparts() -> None:
    halves = model.halves(28)
    assert halves.shape == (8, 28, 28)
    assert torch.equal(halves[:4], 1 - halves[4:])
    assert len({half.numpy().tobytes() for half in halves}) == 8
    assert ((halves.sum((1, 2)) / 28**2 - 0.5).abs() < 0.02).all()


def test_what_is_hidden_is_not_seen(images: Tensor, network: model.Network) -> None:
    """Other pixels where nothing is shown leave the code as it is, and so all that is guessed; novelty tells of them."""
    for half in network.hidden:
        other = torch.where(half > 0, images.flip(0), images)
        before, code = network.judge(images, half[None, None])
        after, same = network.judge(other, half[None, None])
        assert torch.equal(code, same)
        assert not torch.equal(before, after)


def test_divergence_is_that_of_two_coins() -> None:
    pixels = torch.linspace(0, 1, 11, dtype=torch.float64)
    for logit in (-30.0, -1.0, 0.0, 2.0):
        guesses = torch.full_like(pixels, logit)
        expected = kl_divergence(Bernoulli(pixels), Bernoulli(logits=guesses))
        assert torch.allclose(model.divergence(pixels, guesses), expected, atol=1e-9)


def test_a_guess_that_is_right_costs_nothing() -> None:
    pixels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert model.divergence(pixels, torch.logit(pixels)).abs().max() < 1e-12


def test_novelty_is_nats_per_pixel_of_ink(images: Tensor, network: model.Network) -> None:
    """The same once more from its definition, half by half and image by image."""
    novelty = network(images[:3])
    for row, image in enumerate(images[:3].double() / 255):
        wrong = 0.0
        for half in network.hidden.double():
            shown = torch.stack([image * (1 - half), half])[None].float()
            guess = network.decoder(network.encoder(shown))[0].double()
            wrong += float((kl_divergence(Bernoulli(image), Bernoulli(logits=guess)) * half).sum()) / 4
        assert float(novelty[row]) == pytest.approx(wrong / (float(image.sum()) + model.LEAST_INK), rel=1e-4)


def test_training_estimates_novelty_without_bias(images: Tensor, network: model.Network) -> None:
    """The mean over one half at a time is that over all: what is drawn in training is right on average."""
    one_by_one = torch.stack([network.judge(images, half[None, None])[0] for half in network.hidden])
    assert torch.allclose(one_by_one.mean(0), network(images), rtol=1e-5)
    torch.manual_seed(0)
    training = model.Network().train()
    assert len({float(training(images).mean().detach()) for _ in range(4)}) > 1


def test_every_number_type_gives_the_same(images: Tensor, network: model.Network) -> None:
    for dtype in (torch.int64, torch.float32, torch.float64):
        assert torch.equal(network(images.to(dtype)), network(images))
    torch.manual_seed(0)
    double = model.Network().eval().double()(images)
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), network(images), rtol=1e-4)


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_and_a_full_image_have_a_novelty(network: model.Network, value: int) -> None:
    novelty, embedding = model.ServingModule(network)(torch.full((1, 28, 28), value, dtype=torch.uint8))
    assert 0 <= float(novelty) < np.inf
    assert embedding.isfinite().all()


def test_another_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"network: expected models\.novelty's, found Identity"):
        model.ServingModule(nn.Identity())


def test_augmentation_moves_about_half_and_keeps_the_rest(images: Tensor) -> None:
    torch.manual_seed(0)
    many = images.repeat(16, 1, 1)
    moved = model.augment({"image": many})["image"]
    kept = (moved == many).all(2).all(1)
    assert 0.4 < float(kept.float().mean()) < 0.6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 255


def test_a_moved_image_is_as_sharp_as_before(images: Tensor) -> None:
    torch.manual_seed(0)
    many = images.repeat(16, 1, 1)
    moved = model.augment({"image": many})["image"]
    changed = ~(moved == many).all(2).all(1)

    def grey(pixels: Tensor) -> float:
        return float(((pixels > 25) & (pixels < 230)).sum() / (pixels > 25).sum())

    assert grey(moved[changed]) == pytest.approx(grey(many[changed]), abs=0.12)
