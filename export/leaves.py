"""The tensors in what a module answers, each under a name: tuples, dictionaries and dataclasses flattened, nested ones too.

Names are C identifiers, as the ONNX IR specification ("Names Within a Graph") demands of a graph's; the Open Inference
Protocol takes any text. So the parts of a path are joined by underscores.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from export.exporter import ExportError

#: What an answer is called that has no name of its own.
ROOT = "output"


def flattened(answer: object) -> dict[str, object]:
    """Return the parts of an answer by name, in the order in which they come; None is left out.

    One tensor is `output`; the elements of a tuple or list are `output_0`, `output_1`; those of a mapping, a NamedTuple or a
    dataclass have the name of their key or field; `{"hidden": (a, b)}` gives `hidden_0` and `hidden_1`. Parts need not be
    tensors: of those that nobody wants, nothing is demanded. Raise ExportError for a name that comes twice.
    """
    found: dict[str, object] = {}
    for name, part in _leaves(answer, ()):
        if name in found:
            raise ExportError(
                f"output {name!r}: expected one tensor of this name, found two; rename one of the module's keys"
            )
        found[name] = part
    if not found:
        raise ExportError(f"the module: expected one or more tensors as its answer, found {_shown(answer)}")
    return found


def tensor(name: str, part: object) -> Tensor:
    """Return a part of an answer that is a tensor; raise ExportError for anything else."""
    if not isinstance(part, Tensor):
        remedy = "have the module return tensors, or None where there is none, or name the outputs that are wanted"
        raise ExportError(f"output {name!r}: expected a tensor, found {_shown(part)}; {remedy}")
    if part.layout != torch.strided or part.is_quantized:
        raise ExportError(f"output {name!r}: expected a dense tensor, found {part.layout}; call .to_dense() on it")
    return part


# Any: an answer is whatever the module returns.
def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    children = None if isinstance(value, Tensor) else _children(value)
    if children is None:
        if value is not None:
            yield _name(path), value
        return
    for key, child in children:
        yield from _leaves(child, (*path, key))


# Any: a container of anything.
def _children(value: Any) -> list[tuple[str, Any]] | None:
    """Return the parts of a container under their keys, or None for what is no container."""
    if isinstance(value, Mapping):
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return [(str(place), child) for place, child in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _name(path: tuple[str, ...]) -> str:
    name = re.sub(r"\W", "_", "_".join(path), flags=re.ASCII)
    return name if re.match(r"[A-Za-z_]", name) else "_".join(filter(None, (ROOT, name)))


def _shown(value: object) -> str:
    return "None" if value is None else type(value).__name__
