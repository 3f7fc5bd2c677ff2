"""The network for novelty: it sees half of an image and guesses the other half, eight times; what it cannot guess is novel.

An autoencoder that sees what it has to give back learns to copy, and copies letters as well as digits. One that has to guess
a hidden half must know how digits go on (a masked autoencoder: He et al., 2022, with halves in place of patches).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.digits import model as digits

SIDE = 28

#: Numbers in a code: what the network keeps of the half that it sees.
CODE = 32

#: Added to the ink of an image, in white pixels: a quarter of a digit's. Without it an empty image would be infinitely
#: novel by the least error, and thin strokes more than thick ones.
LEAST_INK = 26.0

#: Of the training images in a batch, how many are moved, and how far, in parts of what digits' augmentation allows.
_MOVED, _STRENGTH = 0.5, 0.5

#: Contrast that a moved image is given back: reading between pixels makes edges soft, and soft edges would be learnt.
_CONTRAST = 1.5


class Network(nn.Module):
    """An encoder of half an image, a decoder of the whole: image [N, 28, 28], 0 to 255 → novelty [N], 0 or more.

    Novelty is how many nats per pixel of ink the image's pixels differ from what is guessed of them: the Kullback-Leibler
    divergence between pixel (the share of white in it) and guess (its probability), which no guess makes negative. A
    pixel is guessed four times, of eight halves that do not show it; the mean counts. Summed over the image, that is divided
    by the image's ink, as there is more to be wrong about where more is drawn.
    """

    hidden: Tensor

    def __init__(self, channels: tuple[int, int] = (16, 32), width: int = 256) -> None:
        super().__init__()
        self.register_buffer("hidden", halves(SIDE))
        first, second = channels
        quarter = SIDE // 4
        self.encoder = nn.Sequential(
            _normalised(nn.Conv2d(2, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first)),
            _normalised(nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(second)),
            nn.Flatten(),
            _normalised(nn.Linear(second * quarter * quarter, width, bias=False), nn.BatchNorm1d(width)),
            nn.Linear(width, CODE),
        )
        self.decoder = nn.Sequential(
            _normalised(nn.Linear(CODE, width, bias=False), nn.BatchNorm1d(width)),
            nn.Linear(width, second * quarter * quarter, bias=False),
            nn.Unflatten(1, (second, quarter, quarter)),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            _normalised(nn.ConvTranspose2d(second, first, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(first)),
            nn.ConvTranspose2d(first, 1, 4, stride=2, padding=1),
            nn.Flatten(1, 2),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return novelty; in training an estimate of it, of one half drawn for each image, which costs an eighth."""
        if self.training:
            halves = self.hidden[torch.randint(len(self.hidden), (len(image),), device=image.device)]
            return self.judge(image, halves.unsqueeze(1))[0]
        return self.judge(image, self.hidden.unsqueeze(0))[0]

    def judge(self, image: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return novelty, [N], and the mean code, [N, CODE], with these halves hidden: [N or 1, halves, 28, 28], 1 or 0.

        The image may have any number type and is computed on in that of the weights.
        """
        pixels = image.to(self.hidden.dtype) / 255
        seen = pixels.unsqueeze(1) * (1 - hidden)
        shown = torch.stack([seen, hidden.expand_as(seen)], dim=2)
        codes = self.encoder(shown.flatten(0, 1))
        guesses = self.decoder(codes).unflatten(0, seen.shape[:2])
        wrong = (divergence(pixels.unsqueeze(1), guesses) * hidden).sum((2, 3)).mean(1)
        # Half of the pixels are hidden at a time: twice the sum is an image's.
        novelty = 2 * wrong.clamp(min=0) / (pixels.sum((1, 2)) + LEAST_INK)
        return novelty, codes.unflatten(0, seen.shape[:2]).mean(1)


class ServingModule(nn.Module):
    """What is exported: the network in evaluation, all its halves looked at. Its outputs come in the signature's order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, Network):
            raise TypeError(f"network: expected models.novelty's, found {type(network).__name__}")
        self.network = network
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return novelty, FP32 [N], and embedding, FP32 [N, CODE]."""
        found: tuple[Tensor, Tensor] = self.network.judge(image, self.network.hidden.unsqueeze(0))
        return found


def augment(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return half of the images, drawn from torch's global generator, slightly moved and as sharp as before; as floats."""
    image = inputs["image"]
    moved = digits.augment(inputs, _STRENGTH)["image"]
    sharp = ((moved - 127.5) * _CONTRAST + 127.5).clamp(0, 255)
    chosen = torch.rand(len(image), device=image.device) < _MOVED
    return {"image": torch.where(chosen[:, None, None], sharp, image.float())}


def halves(side: int) -> Tensor:
    """Return eight masks, FP32 [8, side, side], 1 where hidden: both sides of an upright, a level and two diagonal cuts."""
    places = torch.arange(side) - (side - 1) / 2
    down, across = torch.meshgrid(places, places, indexing="ij")
    cuts = torch.stack([across, down, across - down, across + down])
    # What lies on a diagonal goes with one side of it, so that every pixel is hidden by one half of each pair.
    return torch.cat([cuts > 0, cuts <= 0]).float()


def divergence(pixels: Tensor, guesses: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of a guess, as logits, from a pixel, a share of white from 0 to 1; in nats."""
    white, black = pixels.clamp(min=1e-12), (1 - pixels).clamp(min=1e-12)
    own = pixels * white.log() + (1 - pixels) * black.log()
    return functional.softplus(guesses) - pixels * guesses + own


def _normalised(layer: nn.Module, normalisation: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, normalisation, nn.ReLU())
