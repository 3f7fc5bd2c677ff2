"""The origin of weights: everything one would need to make them again. A checkpoint and its versions carry it."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from models.manifest import Origin
from models.spec import Recipe

_LIBRARIES = ("torch", "lightning", "numpy")


def origin_of(model: str, recipe: Recipe, *, seed: int, data: str, scores: Mapping[str, float]) -> Origin:
    """Return the origin of weights that this process has just trained from data of that checksum."""
    commit, dirty = commit_of(Path(__file__))
    libraries = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}
    return Origin(
        model=model,
        data=data,
        seed=seed,
        recipe=asdict(recipe),
        scores=dict(scores),
        libraries=libraries,
        commit=commit,
        dirty=dirty,
    )


def commit_of(source: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that tracks this file, and whether anything in it differs; (None, None) if none.

    A file which lies inside a checkout but is not part of it, as in a `.venv`, has no commit.
    """
    folder = source.parent
    if _git(folder, "ls-files", "--error-unmatch", source.name) is None:
        return None, None
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    if commit is None or changes is None:
        return None, None
    return commit, bool(changes)


def _git(folder: Path, *words: str) -> str | None:
    """Return what git prints, or None if it fails or is not there."""
    # Inside a git hook, GIT_DIR and its like point at the repository of the hook, whatever the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *words]
    try:
        # Nothing of a stranger's is in the command; git is wherever the user's PATH has it.
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
