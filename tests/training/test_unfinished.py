import errno
import json
import os
import random
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import unfinished
from training.checkpoint import CheckpointError
from training.unfinished import Run

RUN = Run(
    model="toy",
    recipe={"epochs": 3, "learning_rate": 0.05},
    seed=1,
    data="5" * 64,
    device="cpu",
    processes=1,
    libraries={"torch": "2.13.0"},
    threads=1,
    data_dir=None,
)


def state() -> dict[str, object]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "weights": OrderedDict(a=shared, tied=shared, turned=shared.t(), half=torch.ones(2, dtype=torch.bfloat16)),
        "optimizer": {0: {"step": torch.tensor(3.0)}, 1: {"betas": (0.9, 0.999), "lr": 1 / 3}},
        "random": {"python": random.getstate(), "none": None, "yes": True, "best": float("-inf")},
        "empty": [[], {}, ()],
    }


def same(found: object, expected: object) -> bool:
    match expected:
        case torch.Tensor():
            return isinstance(found, torch.Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
        case dict():
            return (
                isinstance(found, dict) and list(found) == list(expected) and all(same(found[k], expected[k]) for k in found)
            )
        case list() | tuple():
            return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))
        case _:
            return type(found) is type(expected) and found == expected


def test_what_is_kept_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "T.unfinished"
    unfinished.keep(path, RUN, 2, state())
    found = unfinished.load(path)
    assert (found.path, found.run, found.epoch) == (path, RUN, 2)
    assert same(found.state, state())


def test_a_later_state_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    path = tmp_path / "T.unfinished"
    for epoch in (1, 2, 2, 3):
        unfinished.keep(path, RUN, epoch, {"x": torch.tensor(epoch)})
        assert unfinished.load(path).state["x"] == epoch
        assert sorted(file.name for file in path.iterdir()) == ["run.json", f"state-{epoch}.safetensors"]


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_full_disk_leaves_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    path = tmp_path / "T.unfinished"
    unfinished.keep(path, RUN, 1, {"x": torch.tensor(1)})
    calls, fsync = iter(range(1, 9)), os.fsync

    def full(handle: int) -> None:
        if next(calls) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        unfinished.keep(path, RUN, 2, {"x": torch.tensor(2)})
    kept = 2 if fails_at == 3 else 1  # the third one is for the folder, whose files are whole
    assert unfinished.load(path).state["x"] == kept
    assert sorted(file.name for file in path.iterdir()) == ["run.json", f"state-{kept}.safetensors"]


def test_a_full_disk_at_the_first_state_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        unfinished.keep(tmp_path / "T.unfinished", RUN, 2, {"x": torch.tensor(2)})
    assert list(tmp_path.iterdir()) == []


def test_what_no_file_can_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="state: expected numbers, texts, tensors and collections of them, found set"):
        unfinished.keep(tmp_path / "T.unfinished", RUN, 1, {"x": {1, 2}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "run.json: schema: expected 1, found 2"),
        ({"run": {"model": "toy"}}, "run.json: libraries: expected an object, found None"),
        ({"epoch": -1}, "run.json: epoch: expected 0 or more, found -1"),
        ({"state": []}, "run.json: damaged: state: expected an object"),
        ({"state": {"pairs": [["x", {"tensor": "7"}]]}}, r"run.json: damaged: its state is no tree of tensors: KeyError"),
        ({"state": {"pairs": [[[], 1]]}}, "run.json: damaged: its state is no tree of tensors: TypeError"),
        ({"tensors": {"file": "../../etc/passwd", "sha256": ""}}, "T.unfinished/passwd: No such file"),
        (
            {"tensors": {"file": "state-1.safetensors", "sha256": "0"}},
            "state-1.safetensors: damaged: expected sha256 0, found ",
        ),
    ],
)
def test_what_is_damaged_is_told(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "T.unfinished"
    unfinished.keep(path, RUN, 1, {"x": torch.tensor(1)})
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(facts | change))
    with pytest.raises(CheckpointError, match=message):
        unfinished.load(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_what_is_no_run_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json: damaged: "):
        unfinished.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"absent/run\.json: not an unfinished run: No such file or directory"):
        unfinished.load(tmp_path / "absent")


def test_a_flipped_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "T.unfinished"
    unfinished.keep(path, RUN, 1, {"x": torch.tensor(1)})
    data = bytearray((path / "state-1.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "state-1.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"state-1\.safetensors: damaged: expected sha256 "):
        unfinished.load(path)


def test_the_newest_is_found_and_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no unfinished run of 'toy' in .*: there is nothing to resume"):
        unfinished.newest(tmp_path, "toy")
    for name in ("20260102", "20260103", "20260101"):
        unfinished.keep(tmp_path / "toy" / f"{name}.unfinished", RUN, 1, {})
    assert unfinished.newest(tmp_path, "toy").name == "20260103.unfinished"
    unfinished.remove(tmp_path / "toy" / "20260103.unfinished")
    assert unfinished.newest(tmp_path, "toy").name == "20260102.unfinished"


def test_another_run_is_told_by_all_that_differs() -> None:
    RUN.check(replace(RUN, threads=4, data_dir="/elsewhere"))
    other = replace(RUN, seed=2, recipe={"epochs": 4, "learning_rate": 0.05}, libraries={"torch": "3"}, data="6" * 64)
    with pytest.raises(CheckpointError) as caught:
        RUN.check(other)
    assert str(caught.value) == (
        f"cannot go on with another run than it was: data: expected {'5' * 64}, found {'6' * 64}; "
        "recipe epochs: expected 3, found 4; seed: expected 1, found 2; torch: expected 2.13.0, found 3"
    )
