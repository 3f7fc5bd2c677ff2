"""The network for digits: a small convolutional net on one 28×28 grey image, and what of it is exported.

Normalisation is its first step and softmax the last step of the serving module: both travel inside the graph.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Mean and standard deviation of a pixel over the training split, on the scale 0 to 255.
_MEAN, _STD = 33.66, 78.88

#: How far augmentation may go, each way: about what a person's hand does, and never as far as from a 6 to a 9.
_MAX_ROTATION = math.radians(15)
_MAX_SCALE = 0.15
_MAX_SHEAR = 0.2
_MAX_SHIFT = 0.12  # of half the image's side: 1.7 pixels


class Network(nn.Module):
    """Three convolutions with batch normalisation, then one linear layer: image [N, 28, 28], 0 to 255 → logits [N, 10]."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: tuple[int, int, int] = (16, 32, 64), classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN))
        self.register_buffer("std", torch.tensor(_STD))
        first, second, third = channels
        self.features = nn.Sequential(_block(1, first, kernel=5), _block(first, second), _block(second, third))
        self.classifier = nn.Linear(third * 3 * 3, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits; the image may have any number type and is computed on in that of the weights."""
        pixels = (image.to(self.mean.dtype) - self.mean) / self.std
        features = self.features(pixels.unsqueeze(1))
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


class ServingModule(nn.Module):
    """What is exported: the network, in evaluation, then softmax and argmax. Its outputs come in the signature's order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities, FP32 [N, 10], and class, INT64 [N]."""
        logits = self.network(image)
        return torch.softmax(logits, dim=-1), torch.argmax(logits, dim=-1)


def augment(inputs: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """Return the images slightly turned, scaled, slanted and shifted, each in its own way, as floats from 0 to 255.

    `strength` is the share of what is allowed. Drawn from torch's global generator. What comes in from outside the image
    is black, as its border is.
    """
    image = inputs["image"]

    def spread(limit: float) -> Tensor:
        return (torch.rand(len(image), device=image.device) * 2 - 1) * limit * strength

    angle, shear = spread(_MAX_ROTATION), spread(_MAX_SHEAR)
    width, height = 1 + spread(_MAX_SCALE), 1 + spread(_MAX_SCALE)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rows of the 2×3 matrix that says where each pixel of the result is read from, in units of half the image.
    across = torch.stack([cos * width, (shear * cos - sin) * height, spread(_MAX_SHIFT)], dim=1)
    down = torch.stack([sin * width, (shear * sin + cos) * height, spread(_MAX_SHIFT)], dim=1)
    pixels = image.float().unsqueeze(1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), list(pixels.shape), align_corners=False)
    return {"image": functional.grid_sample(pixels, grid, align_corners=False).squeeze(1)}


def _block(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    """Return convolution, a pooling that halves the side, normalisation and activation."""
    # No bias: the normalisation that follows would take it away. Pooling comes first of the rest, as normalising and
    # activating a quarter of the pixels costs a quarter of the time.
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU())
