"""Anyone's module as the exporters want one: inputs by place, in the signature's order; a tuple of its outputs.

The module itself is not touched: it is a part of this one, called as its `forward` is written and with its answer flattened.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor, nn

from export.binding import Binding
from export.exporter import ExportError
from export.leaves import flattened, tensor

#: Where the module of somebody else is, in the paths of parts and weights.
INNER = "module"


class NamedModule(nn.Module):
    """A module whose `forward` takes the inputs by place and answers a tuple. Made by `named`, which gives it its inputs."""

    def __init__(self, module: nn.Module, binding: Binding, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.binding = binding
        self.inputs = tuple(inputs)
        #: The names under which `flattened` knows the outputs, which need not be those of the signature.
        self.outputs = tuple(outputs)
        self.train(module.training)

    def answered(self, tensors: Sequence[Tensor]) -> dict[str, object]:
        """Call the module; return all that it answers by name, or raise ExportError."""
        return flattened(self.binding.call(self.module, dict(zip(self.inputs, tensors, strict=True))))

    def scripted(self) -> "NamedModule":
        """Return this module around the other one compiled by TorchScript, decisions and loops included."""
        compiled = copy.copy(self)
        compiled._modules = {INNER: torch.jit.script(self.module)}
        return compiled


def named(module: nn.Module, binding: Binding, inputs: Sequence[str], outputs: Sequence[str]) -> NamedModule:
    """Return the module with a `forward` whose parameters are the inputs, by these names."""
    # A class of its own for each, as exporters read the parameters of `forward` and speak of inputs by their names. On the
    # instance it could not be: a copy in float64 would go on calling the original.
    kind = type("NamedModule", (NamedModule,), {"forward": _forward(inputs)})
    made: NamedModule = kind(module, binding, inputs, outputs)
    return made


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that somebody else wrote, or the module itself."""
    return module.module if isinstance(module, NamedModule) else module


# Any: a function whose parameters are only known by their signature.
def _forward(inputs: Sequence[str]) -> Callable[..., Any]:
    def forward(self: NamedModule, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = self.answered(tensors)
        for name in self.outputs:
            if name not in found:
                raise ExportError(f"output {name!r}: the module answers it for some inputs and not for others")
        return tuple(tensor(name, found[name]) for name in self.outputs)

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *inputs)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward
