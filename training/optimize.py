"""Optimizers and schedules: what a Recipe names, made of torch.optim. All gradients, steps and states are torch's own."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from models.spec import Recipe

#: The share of the steps in which the learning rate rises: batch normalisation carries a short rise, and the long fall
#: after it is what sharpens the weights.
_RISING = 0.25

#: How far one cycle moves the momentum to either side: torch's own 0.85 to 0.95, where the momentum is the usual 0.9.
_SWING = 0.05


def optimizer_of(recipe: Recipe, network: nn.Module) -> Optimizer:
    """Return the recipe's optimizer for all parameters of a network.

    Only matrices and kernels decay: pulling a bias or the scale of a normalisation to zero regularises nothing.
    """
    groups = [
        {"params": [one for one in network.parameters() if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in network.parameters() if one.ndim <= 1], "weight_decay": 0.0},
    ]
    match recipe.optimizer:
        case "sgd":
            return SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
        case "rmsprop":
            return RMSprop(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
        case _:
            return AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))


def schedule_of(recipe: Recipe, optimizer: Optimizer, steps: int) -> LRScheduler:
    """Return the course of the learning rate over `steps` steps, to be moved on after each of them.

    One cycle is Smith's (arXiv:1708.07120) as torch has it; a cosine falls from the learning rate to 0.
    """
    match recipe.schedule:
        case "cosine":
            return CosineAnnealingLR(optimizer, steps)
        case "constant":
            return ConstantLR(optimizer, factor=1.0)
        case _:
            low, high = _momenta(recipe.momentum)
            # Of a rise that would be over before the first step, torch computes the slope, and divides by zero.
            rising = 0.5 if _RISING * steps == 1 else _RISING
            return OneCycleLR(optimizer, recipe.learning_rate, steps, pct_start=rising, base_momentum=low, max_momentum=high)


def _momenta(momentum: float) -> tuple[float, float]:
    """Return the ends between which one cycle moves a momentum: about it, and never so far that one of them is 0 or 1."""
    swing = min(_SWING, momentum / 2, (1 - momentum) * 2 / 3)
    return round(momentum - swing, 9), round(momentum + swing, 9)  # 0.9 + 0.05 is 0.9500000000000001
