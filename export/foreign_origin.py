"""The origin of a model that somebody else trained: what is known of it, and `unknown` where nothing is."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from export.exporter import Options
from models.manifest import Origin
from training.origin import commit_of

#: What `origin` says of training data that nobody here has seen.
UNKNOWN = "unknown"

_LIBRARIES = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime")


def origin_of(
    model: str, module: nn.Module, recipe: Mapping[str, object], *, options: Options, source_file: Path | None
) -> Origin:
    """Return the origin of a module: how it was made, exported and with which libraries, and the commit of its source."""
    commit, dirty = (None, None) if source_file is None else commit_of(source_file)
    return Origin(
        model=model,
        data=UNKNOWN,
        seed=0,  # nobody knows; a manifest has one
        recipe={**recipe, "options": asdict(options)},
        scores={},
        libraries={"python": platform.python_version(), **_versions(module)},
        commit=commit,
        dirty=dirty,
    )


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's state: of each tensor's name, dtype, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        # As bytes, since numpy has no bfloat16; flat, as a scalar cannot be looked at as bytes.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _versions(module: nn.Module) -> dict[str, str]:
    """Return the versions of the libraries that exporting takes, and of those which the module's parts come from."""
    packages = {type(part).__module__.partition(".")[0] for part in module.modules()}
    installed = importlib.metadata.packages_distributions()
    theirs = {name for package in packages for name in installed.get(package, ())}
    return {name: importlib.metadata.version(name) for name in (*_LIBRARIES, *sorted(theirs - set(_LIBRARIES)))}
