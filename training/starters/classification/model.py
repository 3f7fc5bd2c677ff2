"""The network, and what of it is served. Normalisation is part of both, so that training and serving cannot drift apart."""

import torch
from torch import Tensor, nn

from training.starters.classification.data import FIELDS, LABELS

#: Values of one hidden layer.
_HIDDEN = 16


class Network(nn.Module):
    """FP32 features [N, 4] → logits [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        # Without scales of its own and with a plain average over all batches, it learns the columns' means and spreads.
        self.normalisation = nn.BatchNorm1d(len(FIELDS), affine=False, momentum=None)
        self.layers = nn.Sequential(nn.Linear(len(FIELDS), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(LABELS)))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits for each row."""
        logits: Tensor = self.layers(self.normalisation(features.to(torch.float32)))
        return logits


class ServingModule(nn.Module):
    """What is exported: a tuple of the signature's outputs, in evaluation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and the class of each row."""
        logits = self.network(features)
        return logits.softmax(-1), logits.argmax(-1)
