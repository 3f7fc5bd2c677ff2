"""The eager module in double precision, to learn how far single precision is from the truth.

Promoting the weights is not enough: a module that casts its own input with `.to(torch.float32)` would fall back, or fail
on mixed types. So every operation is caught on its way to the kernel, and what is float32 there becomes float64.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class InFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Within this context every float32 tensor argument and every request for float32 means float64.

    A float32 tensor that was made outside is left as it is and promoted where it is used, so an operation in place changes
    the promoted copy only: hand in inputs and weights as float64, see `doubled`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    # Any throughout: the signature is torch's, and arguments are whatever an operator takes.
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator in float64; what still comes out as float32, as from a factory without a dtype, is promoted."""
        return tree_map(_promoted, func(*tree_map(_promoted, args), **tree_map(_promoted, kwargs or {})))


def doubled(module: nn.Module) -> nn.Module:
    """Return a copy of the module whose float32 weights and buffers are float64.

    Half-precision ones stay: their rounding is part of what the model says. Layers that compare the dtype of an input with
    that of their weights, as recurrent ones do, want the weights promoted beforehand.
    """
    # Module.double() would promote half precision too; this is the method that it, .to() and .half() are made of.
    double = copy.deepcopy(module)
    double._apply(_promoted)  # type: ignore[no-untyped-call]
    return double


def _promoted(value: Any) -> Any:
    """Return float64 for float32, be it a tensor or a dtype, and anything else as it is."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        return value.to(torch.float64)
    if value is torch.float32:
        return torch.float64
    return value
