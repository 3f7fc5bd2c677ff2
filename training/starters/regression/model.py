"""The network, and what of it is served. Normalisation is part of both, so that training and serving cannot drift apart."""

import torch
from torch import Tensor, nn

from training.starters.regression.data import FIELDS

#: Values of one hidden layer.
_HIDDEN = 32

#: About the mean and the spread of the targets: what the last layer gives is of the order of one.
_CENTRE, _SPREAD = 150.0, 75.0


class Network(nn.Module):
    """FP32 features [N, 10] → values [N]."""

    def __init__(self) -> None:
        super().__init__()
        # Without scales of its own and with a plain average over all batches, it learns the columns' means and spreads.
        self.normalisation = nn.BatchNorm1d(len(FIELDS), affine=False, momentum=None)
        self.layers = nn.Sequential(nn.Linear(len(FIELDS), _HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(_HIDDEN, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return a value for each row."""
        found: Tensor = self.layers(self.normalisation(features.to(torch.float32))).squeeze(1)
        return _CENTRE + _SPREAD * found


class ServingModule(nn.Module):
    """What is exported: a tuple of the signature's outputs, in evaluation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, features: Tensor) -> tuple[Tensor]:
        """Return the value of each row."""
        return (self.network(features),)
