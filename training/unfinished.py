"""An unfinished run on disk: a folder CHECKPOINTS/MODEL/TIME.unfinished, out of which training goes on as if never stopped.

`run.json` tells what run it is and holds its state as a tree; the tensors of that tree lie beside it, as safetensors.
Nothing in it can run code. run.json names its tensors by file and checksum and is replaced in one step after they are on
the disk, so a crash at any point leaves the state before or the state after, whole.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from models import fields
from models.repository import make_folder
from training.checkpoint import CheckpointError, sync, write

SUFFIX = ".unfinished"
FACTS = "run.json"

#: Raised with every change that an older reader would misread.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What decides a run's weights, to the last bit.

    `data` is the SHA-256 of the data, `device` "cpu" or "cuda", `libraries` the versions of those that compute; the recipe's
    precision is the one that was computed with. `threads` and `data_dir` only spare people to say them again: a run may go
    on with other ones, though bits depend on the threads.
    """

    model: str
    recipe: Mapping[str, object]
    seed: int
    data: str
    device: str
    processes: int
    libraries: Mapping[str, str]
    threads: int
    data_dir: str | None

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Run":
        """Read a run; raise FieldError."""
        libraries = fields.record(json, "libraries")
        return cls(
            model=fields.text(json, "model"),
            recipe=fields.record(json, "recipe"),
            seed=fields.count(json, "seed"),
            data=fields.text(json, "data"),
            device=fields.text(json, "device"),
            processes=fields.count(json, "processes"),
            libraries={name: fields.text(libraries, name) for name in libraries},
            threads=fields.count(json, "threads"),
            data_dir=fields.optional(json, "data_dir", fields.text),
        )

    def check(self, now: "Run") -> None:
        """Raise CheckpointError, naming all that differs, unless a run `now` is this one going on."""
        was, found = _flat(self), _flat(now)
        names = sorted(was.keys() | found.keys())
        wrong = [
            f"{name}: expected {was.get(name)}, found {found.get(name)}"
            for name in names
            if was.get(name) != found.get(name)
        ]
        if wrong:
            raise CheckpointError(f"cannot go on with another run than it was: {'; '.join(wrong)}")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An unfinished run as it was after `epoch` epochs: which one, and the trainer's state as Lightning dumps it."""

    path: Path
    run: Run
    epoch: int
    state: dict[str, Any]  # Any: Lightning's tree of dicts, lists, numbers, texts and tensors


def keep(path: Path, run: Run, epoch: int, state: Mapping[str, Any]) -> None:
    """Write a run's state as the folder `path`, over an earlier one of it; raise OSError, which leaves the earlier one."""
    tensors: dict[str, Tensor] = {}
    tree = _packed(state, tensors)
    data = safetensors.torch.save(tensors)
    file = f"state-{epoch}.safetensors"
    facts = {
        "schema": SCHEMA,
        "epoch": epoch,
        "run": asdict(run),
        "tensors": {"file": file, "sha256": hashlib.sha256(data).hexdigest()},
        "state": tree,
    }
    make_folder(path)
    try:
        _replace(path / file, data)
        _replace(path / FACTS, f"{json.dumps(facts)}\n".encode())
        sync(path)
    finally:
        _tidy(path)


def load(path: Path) -> Unfinished:
    """Read a run's state, once its tensors' checksum holds; raise CheckpointError."""
    place = path / FACTS
    try:
        facts = json.loads(place.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{place}: not an unfinished run: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{place}: damaged: not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{place}: damaged: expected an object")
    try:
        schema = fields.integer(facts, "schema")
        if schema != SCHEMA:
            raise fields.FieldError("schema", expected=str(SCHEMA), found=schema)
        run, epoch = Run.from_json(fields.record(facts, "run")), fields.count(facts, "epoch")
        named = fields.record(facts, "tensors")
        tensors = _tensors(path / Path(fields.text(named, "file")).name, fields.text(named, "sha256"))
        state = _unpacked(facts.get("state"), tensors)
    except fields.FieldError as error:
        raise CheckpointError(f"{place}: {error}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{place}: damaged: its state is no tree of tensors: {error!r}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{place}: damaged: state: expected an object")
    return Unfinished(path, run, epoch, state)


def newest(root: Path, model: str) -> Path:
    """Return a model's latest unfinished run under `root`; raise CheckpointError if there is none."""
    names = [facts.parent for facts in (root / model).glob(f"*{SUFFIX}/{FACTS}")]
    if not names:
        raise CheckpointError(f"no unfinished run of {model!r} in {root}: there is nothing to resume")
    return max(names)


def remove(path: Path) -> None:
    """Remove what is kept of a run; what cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)


def _flat(run: Run) -> dict[str, object]:
    """Return all that must be equal, each under a name of its own."""
    flat = {name: value for name, value in asdict(run).items() if name not in {"recipe", "libraries", "threads", "data_dir"}}
    return flat | {f"recipe {name}": value for name, value in run.recipe.items()} | dict(run.libraries)


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Return the tensors of a file; the bytes that are parsed are the ones that were checksummed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CheckpointError(f"{path}: damaged: expected sha256 {sha256}, found {found} in {len(data):,} bytes")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
    return tensors


def _replace(path: Path, data: bytes) -> None:
    """Write a file in one step: it is there as before, or whole."""
    fresh = path.with_name(f".{path.name}")
    write(fresh, data)
    fresh.replace(path)


def _tidy(path: Path) -> None:
    """Remove all but run.json and the tensors it names, and the folder if that is nothing; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        facts = path / FACTS
        named = {FACTS, json.loads(facts.read_bytes())["tensors"]["file"]} if facts.exists() else set()
        for file in path.iterdir():
            if file.name not in named:
                file.unlink()
        if not named:
            path.rmdir()


def _packed(value: object, tensors: dict[str, Tensor]) -> object:
    """Return a tree as JSON, its tensors moved into `tensors`. JSON's keys are texts, so a dict becomes pairs."""
    match value:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = value.detach().cpu().contiguous().clone()  # safetensors refuses memory that two share
            return {"tensor": name}
        case dict():
            return {"pairs": [[_packed(key, tensors), _packed(part, tensors)] for key, part in value.items()]}
        case tuple():
            return {"tuple": [_packed(part, tensors) for part in value]}
        case list():
            return [_packed(part, tensors) for part in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"state: expected numbers, texts, tensors and collections of them, found {type(value).__name__}")


def _unpacked(value: object, tensors: Mapping[str, Tensor]) -> Any:  # Any: whatever was packed
    match value:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"pairs": list(pairs)}:
            return {_unpacked(key, tensors): _unpacked(part, tensors) for key, part in pairs}
        case {"tuple": list(parts)}:
            return tuple(_unpacked(part, tensors) for part in parts)
        case list():
            return [_unpacked(part, tensors) for part in value]
        case _:
            return value
