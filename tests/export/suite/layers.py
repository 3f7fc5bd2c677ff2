"""Cases of the suite: the layers that networks are made of, all of which every format has to take."""

import torch
from torch import Tensor, nn

from tests.export.modules import Classifier
from tests.export.suite.case import ROWS, Case, normal, whole


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, group normalisation, SiLU, a mean over the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.point = nn.Conv2d(4, 8, 1)
        self.normalisation = nn.GroupNorm(2, 8)

    def forward(self, plane: Tensor) -> Tensor:
        return nn.functional.silu(self.normalisation(self.point(self.depth(plane)))).mean((2, 3))


class Residual(nn.Module):
    """A residual block with pre-activation, then a strided one with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.projection = nn.Conv2d(3, 6, 1, stride=2)
        self.before, self.between = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, plane: Tensor) -> Tensor:
        plane = plane + self.first(self.before(plane).relu())
        return (self.projection(plane) + self.second(self.between(plane).relu())).flatten(1)


class Decoder(nn.Module):
    """Transposed convolutions from a code to a plane."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(5, 4 * 9)
        self.grow = nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)
        self.finish = nn.ConvTranspose2d(2, 1, 3)

    def forward(self, code: Tensor) -> Tensor:
        start = self.start(code).relu().unflatten(1, (4, 3, 3))
        return self.finish(nn.functional.leaky_relu(self.grow(start))).sigmoid()


class Causal(nn.Module):
    """Dilated convolutions in time that see the past only, over a free length."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv1d(2, 6, 2), nn.Conv1d(6, 3, 2, dilation=2)

    def forward(self, sound: Tensor) -> Tensor:
        near = self.near(nn.functional.pad(sound, (1, 0))).tanh()
        return self.far(nn.functional.pad(near, (2, 0)))


class Resized(nn.Module):
    """Bilinear interpolation, reflection at the border, pixels shuffled into a larger plane."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)

    def forward(self, plane: Tensor) -> Tensor:
        larger = nn.functional.interpolate(plane, scale_factor=2.0, mode="bilinear", align_corners=False)
        padded = nn.functional.pad(larger, (1, 1, 1, 1), mode="reflect")
        return nn.functional.pixel_shuffle(self.convolution(padded), 2)


class Perceptron(nn.Module):
    """A plain network with layer normalisation, GELU and weights that are normalised themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 12))
        self.normalisation = nn.LayerNorm(12)
        self.second = nn.Linear(12, 3)

    def forward(self, features: Tensor) -> Tensor:
        return self.second(nn.functional.gelu(self.normalisation(self.first(features))))


class Bilinear(nn.Module):
    """Products of pairs: einsum, outer products, a matrix of each row times a vector of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        pairs = torch.einsum("ni,kij,nj->nk", left, self.weight, right)
        return pairs, torch.bmm(left.unsqueeze(2), right.unsqueeze(1)) @ self.weight[0]


class Spectrum(nn.Module):
    """A matrix product against fixed sines: what a buffer holds that is no parameter."""

    waves: Tensor

    def __init__(self) -> None:
        super().__init__()
        places = torch.arange(16, dtype=torch.float32)
        self.register_buffer("waves", torch.sin(places.outer(places + 1) * 0.37))

    def forward(self, sound: Tensor) -> Tensor:
        return torch.log1p((sound @ self.waves).square())


CASES = [
    Case("digits", Classifier, lambda: {"image": whole(256, ROWS, 8, 8).astype("uint8")}),
    Case("separable", Separable, lambda: {"plane": normal(ROWS, 4, 7, 7)}, labels=8),
    Case("residual", Residual, lambda: {"plane": normal(ROWS, 3, 6, 6)}),
    Case("decoder", Decoder, lambda: {"code": normal(ROWS, 5)}),
    Case("causal", Causal, lambda: {"sound": normal(ROWS, 2, 9)}, dynamic={"sound": [2]}),
    Case("resized", Resized, lambda: {"plane": normal(ROWS, 1, 5, 5)}),
    Case("perceptron", Perceptron, lambda: {"features": normal(ROWS, 6)}),
    Case("bilinear", Bilinear, lambda: {"left": normal(ROWS, 4), "right": normal(ROWS, 4, seed=1)}),
    Case("spectrum", Spectrum, lambda: {"sound": normal(ROWS, 16)}),
]
