"""Decisions: the integer outputs that are the argmax of some scores, and how clear-cut each one was.

Two runtimes may rightly answer differently where the two best scores are equal up to rounding. To know those places the
scores are caught on their way into argmax; the module need not give them as an output.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

#: Operators that decide, with the place of the decision among what they return (None: they return nothing else).
_DECIDES = {torch.ops.aten.argmax.default: None, torch.ops.aten.max.dim: 1}


class Decisions(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Remembers, while entered, every argmax and the scores it was taken of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: list[tuple[torch.Tensor, torch.Tensor]] = []

    # Any throughout: the signature is torch's, and arguments are whatever an operator takes.
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operator, and take note if it decides along one axis."""
        result = func(*args, **(kwargs or {}))
        if func in _DECIDES:
            scores, axis = args[0], args[1] if len(args) > 1 else (kwargs or {}).get("dim")
            if axis is not None and scores.is_floating_point():
                place = _DECIDES[func]
                self._made.append((result if place is None else result[place], scores.movedim(axis, -1)))
        return result

    def scores(self, output: torch.Tensor) -> torch.Tensor | None:
        """Return the scores of which this very tensor is the argmax, with the candidates on the last axis, or None."""
        for decided, scores in reversed(self._made):
            # The very memory, perhaps under another shape; in another order the scores would be those of other elements.
            same = decided.data_ptr() == output.data_ptr() and decided.numel() == output.numel() and output.is_contiguous()
            if decided is output or same:
                return scores.reshape(*output.shape, scores.shape[-1])
        return None
