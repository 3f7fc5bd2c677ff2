"""A module by the name of what makes it, `package.module:factory`: imported from the current folder or what is installed.

It is somebody else's code, so whatever it raises is told in one line with the file and line to look at.
"""

import importlib
import sys
from pathlib import Path

from torch import nn

from export.blame import said
from export.exporter import ExportError

#: Packages of this project whose names a project of somebody else is likely to have too.
_OURS = ("models", "training", "export", "serving")


def build(name: str) -> tuple[nn.Module, Path | None]:
    """Import and call the factory; return its module and the file it is in. Raise ExportError.

    What is named may be a function or class that takes no arguments, or a module that is there already.
    """
    package, colon, path = name.partition(":")
    if not (package and colon and path):
        raise ExportError(f"--model: expected package.module:factory, found {name!r}")
    _make_importable(Path.cwd())
    try:
        found: object = importlib.import_module(package)
        file = getattr(found, "__file__", None)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise ExportError(f"--model {name}: cannot be imported: {said(error)}") from error
    try:
        built = found() if callable(found) and not isinstance(found, nn.Module) else found
    except (Exception, SystemExit) as error:
        raise ExportError(f"--model {name}: building the module failed: {said(error)}") from error
    if not isinstance(built, nn.Module):
        raise ExportError(
            f"--model {name}: expected a torch.nn.Module, or a function that returns one, found {_kind(built)}"
        )
    return built, None if file is None else Path(file)


def _make_importable(folder: Path) -> None:
    """Let packages of a folder be imported, as by `python -m` there; also what is beside our own packages of a like name."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    for name in _OURS:
        package = importlib.import_module(name)
        theirs = str(folder / name)
        if (folder / name).is_dir() and theirs not in package.__path__:
            package.__path__.append(theirs)


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:80]
