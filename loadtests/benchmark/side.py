"""A side of the benchmark: a server's command, and how one image is asked of it. Each server is a file beside this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.tensors import Array

#: The two ways in which one image travels.
JSON, BINARY = "JSON", "binary"


class CannotRun(Exception):
    """The benchmark could not be run to its end; the message says why."""


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
    """A server. `{port}` in `command` stands for its port; `ready` is a path that answers 200 once it serves."""

    name: str
    command: tuple[str, ...]
    ready: str
    exchanges: Mapping[str, Exchange]
    folder: Path
