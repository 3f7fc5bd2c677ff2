"""Somebody's weights into somebody's module: from safetensors, or a state dict that `torch.save` wrote; no code is run."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from export.exporter import ExportError, first_line

#: Keys named in a message: weights of another architecture differ in all of them.
_MOST_NAMED = 5

#: What files of `torch.save` are called.
_TORCH = (".pt", ".pth", ".bin", ".ckpt")


def fill(module: nn.Module, path: Path) -> str:
    """Load the file's weights into the module and return the file's SHA-256; raise ExportError naming what does not fit."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportError(f"weights {path}: {error.strerror or error}") from error
    found = _read(data, path)
    expected = module.state_dict()
    # Buffers that the module makes itself and does not save; files from before that was so still hold them.
    unsaved = {name: buffer for name, buffer in module.named_buffers() if name not in expected}
    kept = {name: found.pop(name) for name in unsaved if name in found}
    problems = [
        *_named("missing", [name for name in expected if name not in found and not _tied(name, expected, found)]),
        *_named("not the module's", [name for name in found if name not in expected]),
        *_named("of another shape or dtype", _other_forms({**expected, **unsaved}, {**found, **kept})),
    ]
    if problems:
        raise ExportError(f"weights {path}: expected those of this module, found {'; '.join(problems)}")
    # Not strict: what is missing is another name of a tensor that is there.
    module.load_state_dict(found, strict=False)
    for name, tensor in kept.items():
        unsaved[name].copy_(tensor)
    return hashlib.sha256(data).hexdigest()


def _read(data: bytes, path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            tensors: dict[str, Tensor] = safetensors.torch.load(data)
        except SafetensorError as error:
            raise ExportError(f"weights {path}: not a safetensors file: {first_line(error)}") from error
        return tensors
    if path.suffix not in _TORCH:
        raise ExportError(f"weights {path}: expected a file called .safetensors or {', '.join(_TORCH)}")
    try:
        # weights_only: tensors and plain containers; a file that would run code is refused by torch.
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises for a damaged file depends on the bytes; for what holds other objects it gives a page of advice.
        more = "objects whose loading would run code; torch.save(module.state_dict(), …) writes tensors alone"
        found = more if "Weights only load failed" in str(error) else first_line(error)
        raise ExportError(f"weights {path}: expected a state dict, tensors by name, found {found}") from error
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        found = f"a dictionary of {', '.join(map(str, loaded))}" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise ExportError(f"weights {path}: expected a state dict, tensors by name, found {found[:200]}")
    return dict(loaded)


def _tied(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Tell whether a missing tensor is there under another name: files of tied weights hold them once."""
    place = expected[name].data_ptr()
    return any(other in found and expected[other].data_ptr() == place for other in expected if other != name)


def _other_forms(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} (expected {_form(expected[name])}, found {_form(found[name])})"
        for name in expected
        if name in found and _form(expected[name]) != _form(found[name])
    ]


def _named(what: str, names: list[str]) -> list[str]:
    """Return what is wrong with these tensors, naming the first of them; nothing where there are none."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMED])}{more}"] if names else []


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
