"""A checkpoint: the weights as safetensors and their origin as JSON, in one folder. Nothing in it can run code.

It is written whole or not at all, and what is read has been checksummed: a damaged file is told, never trained on or
exported. A checkpoint's name is the time its training began, in UTC, so names sort by age.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models import fields
from models.manifest import Origin
from models.repository import make_folder

WEIGHTS = "weights.safetensors"
FACTS = "checkpoint.json"

#: Raised with every change that an older reader would misread.
SCHEMA = 1


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, of another network, or could not be written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with weights that were intact when it was loaded. `sha256` is that of the weights file."""

    path: Path
    sha256: str
    origin: Origin


def new_path(root: Path, model: str) -> Path:
    """Return where the next checkpoint of a model belongs, in a folder that is there and can be written to.

    Asked before training, so that an hour's work does not end before a closed door. Raise CheckpointError.
    """
    folder = root / model
    try:
        make_folder(root)
        make_folder(folder)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from error
    check_writable(folder)
    return folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def check_writable(folder: Path) -> None:
    """Raise CheckpointError unless a file can be made in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from error


def save(network: nn.Module, origin: Origin, folder: Path) -> Checkpoint:
    """Write the network's state as the checkpoint `folder`, which must not be there yet; raise CheckpointError.

    Every byte is on the disk before the folder gets its name, so a full disk or a crash leaves nothing behind.
    """
    state = network.state_dict()
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    sha256 = hashlib.sha256(data).hexdigest()
    facts = json.dumps({"schema": SCHEMA, "weights_sha256": sha256, "origin": asdict(origin)}, indent=2, allow_nan=False)
    if folder.exists():
        raise CheckpointError(f"{folder}: a checkpoint is never overwritten, and this is there already")
    try:
        make_folder(folder.parent)
        with _staging(folder.parent) as staged:
            write(staged / WEIGHTS, data)
            write(staged / FACTS, f"{facts}\n".encode())
            staged.chmod(0o755)  # mkdtemp made it 0700; export may run as somebody else
            sync(staged)
            staged.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write the checkpoint: {error.strerror or error}") from error
    return Checkpoint(folder, sha256, origin)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint's facts and verify its weights against them; raise CheckpointError."""
    try:
        facts = json.loads((path / FACTS).read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path / FACTS}: not a checkpoint: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / FACTS}: damaged: not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path / FACTS}: damaged: expected an object")
    try:
        schema = fields.integer(facts, "schema")
        if schema != SCHEMA:
            raise fields.FieldError("schema", expected=str(SCHEMA), found=schema)
        sha256 = fields.text(facts, "weights_sha256")
        origin = Origin.from_json(fields.record(facts, "origin"))
    except fields.FieldError as error:
        raise CheckpointError(f"{path / FACTS}: {error}") from error
    checkpoint = Checkpoint(path, sha256, origin)
    _read(checkpoint)
    return checkpoint


def restore(checkpoint: Checkpoint, network: nn.Module) -> None:
    """Put the weights into a network of the same architecture; raise CheckpointError naming every tensor that differs."""
    found, expected = _read(checkpoint), network.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not the network's" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        if _form(found[name]) != _form(expected[name]):
            problems.append(f"{name}: expected {_form(expected[name])}, found {_form(found[name])}")
    if problems:
        raise CheckpointError(f"{checkpoint.path}: not weights of this network: {'; '.join(sorted(problems))}")
    network.load_state_dict(found)


def newest(root: Path, model: str) -> Path:
    """Return a model's latest checkpoint under `root`; raise CheckpointError if there is none."""
    names = [facts.parent for facts in (root / model).glob(f"[!.]*/{FACTS}")]
    if not names:
        raise CheckpointError(f"no checkpoint of {model!r} in {root}: run `sameway train {model}` first")
    return max(names)


def _read(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors; the bytes that are parsed are the ones that were checksummed."""
    path = checkpoint.path / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != checkpoint.sha256:
        raise CheckpointError(f"{path}: damaged: expected sha256 {checkpoint.sha256}, found {found} in {len(data):,} bytes")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
    return tensors


def _form(tensor: Tensor) -> str:
    """Return what must be equal for a tensor to take another's place."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the checkpoints; what of it was not renamed is gone afterwards."""
    staged = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """Write a file that others may read, whatever the umask, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        path.chmod(0o644)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
