"""A side of the benchmark: a server's command, and how images are asked of it. Each server is a file of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.tensors import Array

ROOT = Path(__file__).resolve().parents[2]

#: Who a side is in the comparison: ourselves, a framework for serving, what one writes without one, nothing but a server.
SAMEWAY, FRAMEWORK, BY_HAND, BARE = "Sameway", "framework", "by hand", "bare"


class CannotRun(Exception):
    """The benchmark could not be run to its end, or one side of it; the message says why."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, the same every time, and how the probabilities are read from its answer's headers and body."""

    path: str
    body: bytes
    read: Callable[[Mapping[str, str], bytes], Array]
    headers: Mapping[str, str] = field(default_factory=dict)

    def check(self, status: int, headers: Mapping[str, str], body: bytes, expected: Array) -> None:
        """Raise CannotRun unless an answer is what the model itself says; header names are in lower case."""
        if status != 200:
            raise CannotRun(f"{self.path}: expected status 200, found {status}: {body[:300]!r}")
        try:
            found = self.read(headers, body)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CannotRun(f"{self.path}: expected an answer with probabilities, found {body[:300]!r}") from error
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=1e-5):
            raise CannotRun(f"{self.path}: expected {expected.ravel()[:4]} …, found {found.ravel()[:4]} …")


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and how it is asked.

    In `command` and `environment`, `{port}` stands for its port, `{model}` for the ONNX file, `{repository}` for the
    model repository that holds it, to be served by one instance, and `{shared}` for the same with two instances.
    `exchanges` has, for each way in which images can travel to it, the function from images to the request.
    """

    name: str
    family: str
    command: tuple[str, ...]
    exchanges: Mapping[str, Callable[[Array], Exchange]]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT


@dataclass(frozen=True, slots=True)
class Absent:
    """A side that was left out, of one kind of work or of all, and why."""

    side: str
    work: str | None
    reason: str
