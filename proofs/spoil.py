"""Ways to spoil a version on the disk, each of which a server must notice before it serves it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from proofs import telling


def spoiled(root: Path, way: str) -> int:
    """Publish the telling model's next version, spoil it in one of the WAYS, and return its number."""
    version = telling.publish(root, right=way != "wrong golden sample")
    WAYS[way](version.path)
    return version.manifest.version


def _flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _change(folder: Path, key: str, value: object) -> None:
    """Change one field of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def _vouch_for_rubbish(folder: Path) -> None:
    """Put bytes that are no model into the artifact's place, under a checksum that fits them."""
    rubbish = b"\x08\x0a" + bytes(range(256)) * 4
    (folder / "model.onnx").write_bytes(rubbish)
    (artifact,) = json.loads((folder / "manifest.json").read_text())["artifacts"]
    digest = hashlib.sha256(rubbish).hexdigest()
    _change(folder, "artifacts", [{**artifact, "sha256": digest, "size_bytes": len(rubbish)}])


#: What is wrong with a version, and what makes it so.
WAYS: Mapping[str, Callable[[Path], None]] = {
    "a bit of the artifact": lambda folder: _flip_bit(folder / "model.onnx"),
    "a truncated artifact": lambda folder: _truncate(folder / "model.onnx"),
    "no artifact": lambda folder: (folder / "model.onnx").unlink(),
    "an artifact that is no model": _vouch_for_rubbish,
    "a bit of the golden sample": lambda folder: _flip_bit(folder / "golden.npz"),
    "wrong golden sample": lambda folder: None,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: _truncate(folder / "manifest.json"),
    "a manifest of another model": lambda folder: _change(folder, "model", "another"),
    "a manifest of another version": lambda folder: _change(folder, "version", 1_000_000),
}
