import errno
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from models.manifest import Origin
from tests.training.toys import Network
from training import checkpoint
from training.checkpoint import Checkpoint, CheckpointError

ORIGIN = Origin(
    model="toy",
    data="d" * 64,
    seed=7,
    recipe={"epochs": 3, "learning_rate": 0.05},
    scores={"accuracy": 0.97},
    libraries={"torch": "2.13.0"},
    commit=None,
    dirty=None,
)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Network()


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    return checkpoint.save(network(), ORIGIN, tmp_path / "toy" / "1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_weights_and_origin_come_back(saved: Checkpoint) -> None:
    loaded = checkpoint.load(saved.path)
    assert loaded == saved
    assert loaded.origin == ORIGIN
    restored = network(seed=1)
    checkpoint.restore(loaded, restored)
    expected = network().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in restored.state_dict().items())


def test_it_is_two_files_that_anybody_may_read(saved: Checkpoint) -> None:
    assert names(saved.path) == ["checkpoint.json", "weights.safetensors"]
    assert names(saved.path.parent) == ["1"]
    assert saved.path.stat().st_mode & 0o777 == 0o755


def test_others_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = checkpoint.save(network(), ORIGIN, checkpoint.new_path(tmp_path / "checkpoints", "toy")).path
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == {
        "checkpoint.json": 0o644,
        "weights.safetensors": 0o644,
    }
    assert [folder.stat().st_mode & 0o777 for folder in (path, path.parent, path.parent.parent)] == [0o755] * 3


def test_every_byte_of_it_is_json_or_a_number(saved: Checkpoint) -> None:
    """So nothing in it is a pickle."""
    json.loads((saved.path / "checkpoint.json").read_bytes())
    data = (saved.path / "weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8 : 8 + size])
    spans = sorted(tuple(tensor["data_offsets"]) for tensor in tensors.values())
    ends = [0] + [end for _, end in spans]
    assert [start for start, _ in spans] == ends[:-1]
    assert 8 + size + ends[-1] == len(data)


def test_the_same_weights_give_the_same_file(saved: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.save(network(), ORIGIN, tmp_path / "toy" / "2").sha256 == saved.sha256
    assert checkpoint.save(network(seed=1), ORIGIN, tmp_path / "toy" / "3").sha256 != saved.sha256


def test_a_checkpoint_is_never_overwritten(saved: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="never overwritten"):
        checkpoint.save(network(seed=1), ORIGIN, saved.path)
    assert checkpoint.load(saved.path) == saved


def test_damaged_weights_are_named(saved: Checkpoint) -> None:
    path = saved.path / "weights.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (b"", whole[:20], whole[:-1], whole + b"\0", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"weights\.safetensors: damaged: expected .* in {len(damaged):,} bytes"):
            checkpoint.load(saved.path)
        with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
            checkpoint.restore(saved, network())
    path.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: No such file"):
        checkpoint.load(saved.path)


def test_weights_that_are_not_safetensors_are_named(saved: Checkpoint) -> None:
    path = saved.path / "weights.safetensors"
    path.write_bytes(b"something else")
    facts = json.loads((saved.path / "checkpoint.json").read_bytes())
    facts["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (saved.path / "checkpoint.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a safetensors file"):
        checkpoint.load(saved.path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged: not JSON"),
        ("{", "damaged: not JSON"),
        ("[]", "damaged: expected an object"),
        ("{}", "schema: expected an integer"),
        ('{"schema": 2}', "schema: expected 1, found 2"),
        ('{"schema": 1}', "weights_sha256: expected a text"),
        ('{"schema": 1, "weights_sha256": "a"}', "origin: expected an object"),
        ('{"schema": 1, "weights_sha256": "a", "origin": {}}', "scores: expected an object"),
        ("[" * 100_000, "damaged: not JSON"),
    ],
)
def test_damaged_facts_are_named(saved: Checkpoint, text: str, message: str) -> None:
    (saved.path / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"checkpoint\.json: {message}"):
        checkpoint.load(saved.path)


def test_every_fact_of_the_origin_is_needed(saved: Checkpoint) -> None:
    path = saved.path / "checkpoint.json"
    facts = json.loads(path.read_bytes())
    for name in asdict(ORIGIN):
        if name in ("commit", "dirty"):
            continue
        origin = {key: value for key, value in facts["origin"].items() if key != name}
        path.write_text(json.dumps({**facts, "origin": origin}))
        with pytest.raises(CheckpointError, match=f"{name}: expected"):
            checkpoint.load(saved.path)


@pytest.mark.parametrize(
    ("key", "facts"),
    [
        ("recipe", '{"learning_rate": NaN}'),
        ("recipe", '{"inner": [{"learning_rate": -Infinity}]}'),
        ("recipe", '{"learning_rate": 1e999}'),
        ("recipe", '{"optimizer": "\\ud800"}'),
        ("recipe", '{"\\ud800": 1}'),
        ("scores", '{"\\ud800": 1}'),
        ("libraries", '{"\\ud800": "1"}'),
    ],
)
def test_an_origin_that_no_manifest_can_hold_is_refused(saved: Checkpoint, key: str, facts: str) -> None:
    path = saved.path / "checkpoint.json"
    whole = json.loads(path.read_bytes())
    whole["origin"][key] = "here"
    path.write_text(json.dumps(whole).replace('"here"', facts))
    with pytest.raises(
        CheckpointError, match=rf"checkpoint\.json: {key}: expected finite numbers and whole texts, found "
    ) as caught:
        checkpoint.load(saved.path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("path", ["absent", ".", "file"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: not a checkpoint"):
        checkpoint.load(tmp_path / path)


def test_weights_of_another_network_are_refused_by_name(saved: Checkpoint) -> None:
    class Other(Network):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 4)
            self.extra = nn.Linear(1, 1, bias=False)
            del self.normalisation.running_mean
            self.normalisation.num_batches_tracked = torch.zeros((), dtype=torch.int32)

    other = Other()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore(saved, other)
    message = str(caught.value)
    assert "extra.weight is missing" in message
    assert "normalisation.running_mean is not the network's" in message
    assert "linear.weight: expected float32 [4, 16], found float32 [3, 16]" in message
    assert "normalisation.num_batches_tracked: expected int32 [], found int64 []" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.rename", "tempfile.mkdtemp", "pathlib.Path.open"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(place, no_space)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint: No space left on device"):
        checkpoint.save(network(), ORIGIN, tmp_path / "toy" / "1")
    monkeypatch.undo()
    assert names(tmp_path / "toy") == []
    assert checkpoint.save(network(), ORIGIN, tmp_path / "toy" / "1").path.is_dir()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/toy: cannot write here: Not a directory"):
        checkpoint.new_path(tmp_path / "file", "toy")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        checkpoint.save(network(), ORIGIN, tmp_path / "file" / "1")


def test_the_newest_is_the_last_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint of 'toy' in .*: run `sameway train toy` first"):
        checkpoint.newest(tmp_path, "toy")
    paths = [checkpoint.new_path(tmp_path, "toy") for _ in range(3)]
    assert len(set(paths)) == 3
    for path in reversed(paths):
        checkpoint.save(network(), ORIGIN, path)
    (tmp_path / "toy" / "zz half a checkpoint").mkdir()
    unfinished = tmp_path / "toy" / ".staging-x"
    unfinished.mkdir()
    (unfinished / "checkpoint.json").touch()
    assert checkpoint.newest(tmp_path, "toy") == paths[-1]
    assert checkpoint.load(checkpoint.newest(tmp_path, "toy")).origin == ORIGIN


def test_asking_for_a_path_leaves_nothing_but_the_folder(tmp_path: Path) -> None:
    path = checkpoint.new_path(tmp_path / "deep" / "er", "toy")
    assert path.parent == tmp_path / "deep" / "er" / "toy"
    assert names(path.parent) == []


def test_weights_may_be_views_and_tensors_of_any_type(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
            self.register_buffer("halves", torch.ones(2, dtype=torch.bfloat16))
            self.register_buffer("flag", torch.tensor(True))
            self.register_buffer("empty", torch.zeros(0, 3))

    kept = checkpoint.save(Odd(), ORIGIN, tmp_path / "1")
    tensors = safetensors.torch.load_file(kept.path / "weights.safetensors")
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    checkpoint.restore(kept, Odd())
