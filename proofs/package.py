"""A crafted package: how one is described, and the place where it is made."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.repository import sha256_of

Json = dict[str, Any]  # Any: a manifest on its way to being wrong


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a package is made: the folder to spoil, its neighbours, and a file that only an attacker's code would make."""

    folder: Path
    outside: Path
    canary: Path

    @property
    def manifest(self) -> Path:
        """The manifest of the folder."""
        return self.folder / "manifest.json"

    def reseal(self, edit: Callable[[Json], object] = lambda _: None) -> None:
        """Edit the manifest and make every checksum right again; what it names and is not there keeps its own."""
        facts = json.loads(self.manifest.read_bytes())
        for entry in (*facts["artifacts"], facts["golden"]):
            file = self.folder / entry["file"]
            entry["sha256"], entry["size_bytes"] = sha256_of(file), file.stat().st_size
        edit(facts)
        self.manifest.write_text(json.dumps(facts, indent=2))


@dataclass(frozen=True, slots=True)
class Package:
    """One crafted package, to be opened in each of these formats."""

    name: str
    make: Callable[[Scene], object]
    without_signature: Literal["before", "unloaded", "harmless"] = "before"
    formats: tuple[str, ...] = ("onnx", "torchscript")
