"""Sameway itself: the command that an operator runs, asked in the Open Inference Protocol."""

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

from loadtests.benchmark.asking import as_binary, as_json
from loadtests.benchmark.session import MODEL
from loadtests.benchmark.side import ROOT, SAMEWAY, Absent, Side
from loadtests.benchmark.work import BINARY, JSON

_PATH = f"/v2/models/{MODEL}/infer"
_NAMES = {"fastapi": "FastAPI", "flask": "Flask"}


def side(frontend: str, *, workers: int = 1, root: Path = ROOT) -> Side:
    """Return a front end of this tree with so many complete replicas, or of another tree: for a before and an after."""
    return _side(frontend, _counted(workers, "worker"), "{repository}", ("--workers", str(workers)), root)


def shared(frontend: str, *, frontends: int, root: Path = ROOT) -> Side:
    """Return so many processes with a front end each, which share one engine. It has an instance for each core."""
    name = f"{_counted(frontends, 'front end')}, one engine"
    return _side(frontend, name, "{shared}", ("--frontends", str(frontends)), root)


def on_ray(frontend: str, *, replicas: int, root: Path = ROOT) -> Side:
    """Return a front end whose model is in so many Ray Serve replicas of a Ray on this machine."""
    flags = ("--engine", "ray", "--ray-replicas", str(replicas), "--ray-cpus", "0.5")
    return _side(frontend, f"Ray, {_counted(replicas, 'replica')}", "{repository}", flags, root)


def sides(*, root: Path = ROOT) -> tuple[list[Side], list[Absent]]:
    """Return all there are of a tree, and what its `serve` command cannot do yet."""
    replicas = [side(frontend, workers=workers, root=root) for frontend in _NAMES for workers in (1, 2)]
    sharing = [shared(frontend, frontends=2, root=root) for frontend in _NAMES]
    if importlib.util.find_spec("ray") is not None:  # like the peers: where it is installed
        sharing += [on_ray("fastapi", replicas=replicas, root=root) for replicas in (1, 2)]
    if _offers(root, "--frontends"):
        return [*replicas, *sharing], []
    reason = "this checkout's `serve` has no --frontends"
    return replicas, [Absent(one.name, None, reason) for one in sharing]


def _side(frontend: str, count: str, repository: str, flags: tuple[str, ...], root: Path) -> Side:
    name = f"Sameway, {_NAMES[frontend]}, {count}"
    serve = (sys.executable, "cli.py", "serve", "--repository", repository, "--frontend", frontend)
    return Side(
        name if root == ROOT else f"{name} ({root.name})",
        SAMEWAY,
        (*serve, *flags, "--port", "{port}", "--drain-delay-seconds", "0"),
        {JSON: functools.partial(as_json, _PATH), BINARY: functools.partial(as_binary, _PATH)},
        folder=root,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _offers(root: Path, flag: str) -> bool:
    """Tell whether a tree's `serve` command has a flag."""
    words = [sys.executable, "cli.py", "serve", "--help"]
    said = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    return flag in said.stdout
