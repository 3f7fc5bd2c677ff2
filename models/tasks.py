"""Tasks: what a model is for. A task says what its network gives, what its targets are, and which output answers for it.

`output` names the tensor of the signature that scores are computed of: an exported version is scored as its network is.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Classification:
    """One of `classes` labels per sample.

    The network gives logits FP32 [N, classes]; the target is an INT64 class; `output` is FP32 [N, classes], logits or, after
    a softmax, probabilities.
    """

    classes: int
    output: str


@dataclass(frozen=True, slots=True)
class Regression:
    """A number per sample, in `unit`.

    The network and `output` give it, FP32 [N]; so is the target. `scale`, in that unit, is what the loss calls one: about
    the error to be expected, which keeps gradients of the order of 1.
    """

    output: str
    unit: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Novelty:
    """How unlike all it was trained on a sample is: the larger, the stranger; unsupervised.

    The network and `output` give it, FP32 [N] of 0 or more, and training makes its mean smaller. Targets are INT64, 0 for a
    familiar sample and 1 for a foreign one. The loss looks at no target: the train and validation splits hold familiar ones
    only.
    """

    output: str


Task: TypeAlias = Classification | Regression | Novelty
