"""The network for diamonds: what a stone of its weight costs on average, times a correction that the network has learnt.

A plain network of a few numbers is too smooth for prices, which jump at whole carats and fall where a cut leaves its
tolerances. So every number is first split over bins, within which it rises from 0 to 1 (the piecewise-linear encoding of
Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", 2022), and grades have learnt values.
"""

import torch
from torch import Tensor, nn

from models.diamonds.table import GRADES, NUMBERS

#: Between which limits a feature is looked at: all but about a thousandth of the training split on either side, for carats
#: all that it holds. Beyond, a stone is priced as one at the limit. A test computes them again.
LIMITS = (
    (-1.61, 1.61),  # the logarithm of carat: 0.2 to 5.0
    (55.5, 69.0),  # depth, %
    (52.0, 67.0),  # table, %
    (6.0, 6.8),  # x, y and z in mm over the cube root of carat, which is the same for a stone twice as long
    (5.9, 6.8),
    (3.6, 4.3),
)

#: x, y and z over the cube root of carat where the table has 0, which is what it has for a length that was not measured:
#: medians of the training split. A test computes them again.
TYPICAL = (6.417, 6.425, 3.969)

#: The price as a power of the weight, 4,670 USD for one carat: least squares of logarithms on the training split.
BASE, EXPONENT = 4670.0, 1.68

#: The most that is answered, in USD: three times the table's dearest stone. Half precision ends at 65,504, and a price that
#: is infinite in one format only would be none.
MOST = 60_000.0

#: The least carat, and length in mm, that are one: the table's unit. Far from 0, where runtimes differ in what they call 0.
_UNIT = 0.01

#: Larger than any number of a stone: it keeps what follows finite, and rounds nothing real.
_LARGEST = 1000.0


class Network(nn.Module):
    """NUMBERS [N, 6] and GRADES [N, 3] → price in USD, [N]; NaN where a number is not finite or a grade not in the table.

    Depth and table are in percent, lengths in mm. Both inputs may have any number type; it computes in that of the weights.
    """

    limits: Tensor
    typical: Tensor
    edges: Tensor
    best: Tensor
    starts: Tensor

    def __init__(self, bins: int = 64, values: int = 8, width: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [len(grades) for grades in GRADES.values()]
        self.register_buffer("limits", torch.tensor(LIMITS).T.contiguous())
        self.register_buffer("typical", torch.tensor(TYPICAL))
        self.register_buffer("edges", torch.arange(float(bins)))
        self.register_buffer("best", torch.tensor(sizes) - 1)
        # One table of all grades: color begins where cut ends.
        self.register_buffer("starts", torch.tensor([0, sizes[0], sizes[0] + sizes[1]]))
        self.bins = nn.Parameter(torch.randn(len(NUMBERS), bins, values) / bins**0.5)
        self.embedding = nn.Embedding(sum(sizes), values)
        layers: list[nn.Module] = []
        before = values * (len(NUMBERS) + len(GRADES))
        for _ in range(3):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.weights = nn.Parameter(torch.randn(1, width) / width)

    def forward(self, numbers: Tensor, grades: Tensor) -> Tensor:
        """Return prices in USD, [N]."""
        numbers, known = self.numbers(numbers)
        features = self.features(numbers)
        places = grades.long().clamp(min=0).minimum(self.best)
        known = known & (places == grades).all(1)
        grade_values = self.embedding(places + self.starts).flatten(1)
        hidden = self.layers(torch.cat([self.encode(features), grade_values], 1))
        # A layer of one value, without a bias as BASE is one. Written as products and their sum, and the price as a product
        # of powers: where eight bits compute (export/quantize.py), matrix products and sums of two are cut to the range that
        # a few samples had, and rare stones lie beyond.
        correction = (hidden * self.weights).sum(1)
        price = correction.exp() * (EXPONENT * features[:, 0]).exp() * BASE
        return torch.where(known, price, torch.nan)

    def numbers(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return finite numbers in the weights' type, and which rows had only such, BOOL [N]."""
        numbers = numbers.to(self.limits.dtype)
        finite = numbers.isfinite()
        # The others are put aside before anything is computed of them: runtimes differ in what they make of NaN.
        return torch.where(finite, numbers, 1.0).clamp(-_LARGEST, _LARGEST), finite.all(1)

    def features(self, numbers: Tensor) -> Tensor:
        """Return what the network looks at, [N, 6] within LIMITS: log carat, depth, table, lengths over ∛carat."""
        low, high = self.limits[0], self.limits[1]
        weight = numbers[:, :1].clamp(min=_UNIT).log().maximum(low[:1]).minimum(high[:1])
        lengths = numbers[:, 3:]
        ratios = torch.where(lengths >= _UNIT, lengths * (-weight / 3).exp(), self.typical)
        return torch.cat([weight, numbers[:, 1:3], ratios], 1).maximum(low).minimum(high)

    def encode(self, features: Tensor) -> Tensor:
        """Return each feature as values that are linear in it within every bin and join at the edges, [N, 6 · values]."""
        places = (features - self.limits[0]) / (self.limits[1] - self.limits[0]) * len(self.edges)
        filled = (places.unsqueeze(2) - self.edges).clamp(0, 1)  # [N, 6, bins]: 1 below the feature's bin, 0 above it
        return (filled.transpose(0, 1) @ self.bins).transpose(0, 1).flatten(1)


class ServingModule(nn.Module):
    """What is exported: the network in evaluation, its price as the only output, MOST at most."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, Network):
            raise TypeError(f"network: expected models.diamonds's, found {type(network).__name__}")
        self.network = network
        self.eval()

    def forward(self, numbers: Tensor, grades: Tensor) -> tuple[Tensor]:
        """Return prices in USD, FP32 [N]."""
        price = self.network(numbers, grades)
        # No clamp: runtimes differ in what it makes of NaN.
        return (torch.where(price > MOST, MOST, price),)
