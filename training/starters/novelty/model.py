"""The network, and what of it is served. Normalisation is part of both, so that training and serving cannot drift apart."""

import torch
from torch import Tensor, nn

from training.starters.novelty.data import FIELDS

#: Numbers that a row has to pass through, and those of the layer on either side of them.
CODE = 3
_HIDDEN = 16


class Network(nn.Module):
    """FP32 features [N, 10] → novelty [N]: the mean square of what an autoencoder does not get back."""

    def __init__(self) -> None:
        super().__init__()
        # Without scales of its own and with a plain average over all batches, it learns the columns' means and spreads.
        self.normalisation = nn.BatchNorm1d(len(FIELDS), affine=False, momentum=None)
        self.encoder = nn.Sequential(nn.Linear(len(FIELDS), _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, CODE))
        self.decoder = nn.Sequential(nn.Linear(CODE, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, len(FIELDS)))

    def forward(self, features: Tensor) -> Tensor:
        """Return the novelty of each row."""
        return self.judged(features)[0]

    def judged(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the novelty of each row, and its embedding [N, 3]."""
        row = self.normalisation(features.to(torch.float32))
        code = self.encoder(row)
        return (row - self.decoder(code)).square().mean(1), code


class ServingModule(nn.Module):
    """What is exported: a tuple of the signature's outputs, in evaluation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, found {type(network).__name__}")
        self.network = network
        self.eval()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return novelty and embedding of each row."""
        return self.network.judged(features)
