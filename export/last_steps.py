"""The tensors before an output's last step: softmax and sigmoid flatten differences, so that a fault may hide behind them.

Only for looking: the module need not give them as outputs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten

#: Steps that keep the shape and hide differences. In inference mode composite operators come whole, outside it in parts.
_STEPS: dict[object, str] = {
    _ATEN.softmax.int: "softmax",
    _ATEN._softmax.default: "softmax",
    _ATEN.log_softmax.int: "log_softmax",
    _ATEN._log_softmax.default: "log_softmax",
    _ATEN.sigmoid.default: "sigmoid",
}

#: Steps remembered: the last step of an output is among the last of all, and an attention's softmax is large.
_REMEMBERED = 16


class LastSteps(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Remembers, while entered, the latest steps and what they were taken of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._taken: deque[tuple[str, torch.Tensor, torch.Tensor]] = deque(maxlen=_REMEMBERED)

    # Any throughout: the signature is torch's, and arguments are whatever an operator takes.
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operator, and take note if it is such a step."""
        result = func(*args, **(kwargs or {}))
        step = _STEPS.get(func)
        if step is not None and args[0].is_floating_point():
            self._taken.append((step, result, args[0]))
        return result

    def before(self, output: torch.Tensor) -> tuple[str, torch.Tensor] | None:
        """Return the step whose result is this very tensor, and what it was taken of; None where it is no such result."""
        for step, result, given in reversed(self._taken):
            if result is output or (result.data_ptr() == output.data_ptr() and result.shape == output.shape):
                return step, given
        return None
