"""Binding: inputs by name to the parameters of a module's `forward`, as Python binds keyword arguments.

Three kinds of `forward` take what has another name than their parameters: `forward(**tensors)`; `forward(batch)`, where the
batch is a dictionary; `forward(*tensors)`, which has no names and gets the inputs in the order in which they were given.
"""

import collections.abc
import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from torch import Tensor, nn

from export.exporter import ExportError

#: What an annotation begins with that means a dictionary, where it is a text that cannot be evaluated.
_DICTIONARIES = ("dict", "Dict", "typing.Dict", "Mapping", "MutableMapping", "typing.Mapping", "collections.abc.Mapping")


@dataclass(frozen=True, slots=True)
class Binding:
    """How a module is called: which inputs go by place, which by keyword, and the parameter that gets the rest as a dict."""

    by_place: tuple[str, ...]
    by_keyword: tuple[str, ...]
    gathered: tuple[str, ...] = ()
    gathers: str | None = None

    # Any: a module answers what it likes.
    def call(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> Any:
        """Call the module with these inputs."""
        keywords: dict[str, Any] = {name: tensors[name] for name in self.by_keyword}
        if self.gathers is not None:
            keywords[self.gathers] = {name: tensors[name] for name in self.gathered}
        return module(*(tensors[name] for name in self.by_place), **keywords)


def bind(module: nn.Module, names: Sequence[str]) -> Binding:
    """Return how inputs of these names are given to the module; raise ExportError where forward has no such parameter."""
    parameters = inspect.signature(module.forward).parameters
    kinds = {one.kind for one in parameters.values()}
    named = [one.name for one in parameters.values() if one.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    unnamed = [name for name in named if parameters[name].kind is Parameter.POSITIONAL_ONLY]
    missing = [name for name in named if parameters[name].default is Parameter.empty and name not in names]
    strange = [name for name in names if name not in named]
    by_place = tuple(name for name in unnamed if name in names)
    by_keyword = tuple(name for name in named if name in names and name not in unnamed)
    if strange and len(missing) == 1 and missing[0] not in unnamed and _takes_dict(module, missing[0]):
        return Binding(by_place, by_keyword, tuple(strange), missing[0])
    if strange and Parameter.VAR_POSITIONAL in kinds and not named:
        return Binding(tuple(names), ())
    if missing or (strange and Parameter.VAR_KEYWORD not in kinds):
        takes = ", ".join(named) or "nothing"
        word = missing[0] if missing and (not strange or Parameter.VAR_KEYWORD in kinds) else strange[0]
        raise ExportError(f"input {word!r}: expected the names that forward takes ({takes}), found {', '.join(names)}")
    return Binding(by_place, (*by_keyword, *strange))


def _takes_dict(module: nn.Module, name: str) -> bool:
    """Tell whether a parameter takes a dictionary: by its annotation, or it may where it has none."""
    parameter = inspect.signature(module.forward).parameters[name]
    if parameter.annotation is Parameter.empty:
        return True
    try:
        annotation = typing.get_type_hints(module.forward)[name]
    except Exception:  # noqa: BLE001 - a text that only a type checker understands raises whatever evaluating it raises
        return str(parameter.annotation).startswith(_DICTIONARIES)
    found = typing.get_origin(annotation) or annotation
    return isinstance(found, type) and issubclass(found, collections.abc.Mapping)
