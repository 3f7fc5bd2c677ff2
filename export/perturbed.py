"""The eager module in float64, with every result off by about as much as float32 would round it.

Where an answer is decided by rounding, a comparison proves nothing. That two runs agree does not show the opposite: both may
be lucky, as a sum of equal numbers is exact in one order of summation and not in the next. So results are perturbed at
random, which is Monte Carlo arithmetic (D. S. Parker, "Monte Carlo Arithmetic: exploiting randomness in floating-point
arithmetic", 1997): what this changes, another runtime may rightly change too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from export.float64 import InFloat64

#: The distance from 1 to the next float32. Rounding errs by half of that; a runtime's exp or tanh by one or two.
_UNIT = 2.0**-23

#: Of what is smaller, float32 has no square.
_SQUARE = float(torch.finfo(torch.float32).tiny) ** 0.5

#: Operators that square within, by words of their names. The eager model may keep its squares in float64 there.
_SQUARES = ("norm", "var", "std")

#: What only copies, and rounds nothing.
_EXACT = {torch.ops.aten._to_copy.default, torch.ops.aten.clone.default}


class Perturbed(InFloat64):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Within this context every operator's floating result is off by a random share of at most one unit of float32.

    The same seed perturbs alike. Views and operations in place are left as they are: what they return is memory of others.
    `peak` is the largest finite magnitude that any operator has returned; `vanishing` tells whether one was given only
    numbers so small that their squares are 0 in float32, where it squares.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.peak = 0.0
        self.vanishing = False
        self._random = torch.Generator().manual_seed(seed)

    # Any throughout: the signature is torch's, and arguments are whatever an operator takes.
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator in float64 and perturb what is its own in the result."""
        if any(word in func.__name__ for word in _SQUARES) and isinstance(args[0], torch.Tensor):
            self.vanishing |= 0 < _peak(args[0]) < _SQUARE
        result = super().__torch_dispatch__(func, types, args, kwargs)
        schema: Any = getattr(func, "_schema", None)
        aliased = schema is None or any(returned.alias_info is not None for returned in schema.returns)
        return tree_map(lambda value: self._noted(value, exact=aliased or func in _EXACT), result)

    def _noted(self, value: Any, *, exact: bool) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float64 or value.numel() == 0:
            return value
        self.peak = max(self.peak, _peak(value))
        if exact:
            return value
        shares = torch.empty(value.shape, dtype=torch.float64).uniform_(-1, 1, generator=self._random)
        return value * (1 + _UNIT * shares)


def _peak(value: torch.Tensor) -> float:
    """Return the largest finite magnitude, 0 for a tensor without any."""
    if value.numel() == 0:
        return 0.0
    magnitudes = value.abs()
    return float(torch.where(magnitudes.isfinite(), magnitudes, 0.0).max())
