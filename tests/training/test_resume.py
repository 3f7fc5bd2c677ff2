"""A run that was killed goes on, and ends with the weights of one that was not; in one process, and in two of torchrun's."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.spec import Recipe
from tests.training import together, toys
from training import checkpoint, unfinished
from training.checkpoint import CheckpointError
from training.train import train

ROOT = Path(__file__).parents[2]
PATIENCE = 120


def program(folder: Path, what: str) -> list[str]:
    return ["-m", "tests.training.together", str(folder), what]


def weights(folder: Path) -> bytes:
    return (folder / checkpoint.WEIGHTS).read_bytes()


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    words = [sys.executable, *program(tmp_path, "halted")]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halted\n"
        process.send_signal(signal.SIGKILL)
    keep = tmp_path / "toy.unfinished"
    assert keep.is_dir(), "its state lies beside the checkpoints"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed, asked = together.run(keep, resumed=True)
        whole, _ = together.run(tmp_path / "whole.unfinished")
    finally:
        torch.set_num_threads(threads)
    assert len(asked["train"]) < 90 * together.RECIPE.epochs, "two of the epochs were not trained again"
    checkpoint.save(resumed.network, resumed.origin, tmp_path / "resumed")
    checkpoint.save(whole.network, whole.origin, tmp_path / "whole")
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole")
    assert (resumed.epoch, resumed.validation) == (whole.epoch, whole.validation)


def together_by_torchrun(folder: Path, what: str) -> int:
    """Run the program in two processes on this machine, which talk through a port that is free; return the exit code."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *program(folder, what)], cwd=ROOT, capture_output=True, timeout=PATIENCE)
    return done.returncode


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train with torchrun, in two processes."""
    folder = tmp_path_factory.mktemp("two")
    assert together_by_torchrun(folder, "whole") == 0
    return folder


@pytest.mark.long
def test_two_processes_ask_for_each_sample_once_an_epoch(two_processes: Path) -> None:
    first, second = (json.loads((two_processes / f"whole-{rank}.json").read_text()) for rank in (0, 1))
    epochs = together.RECIPE.epochs
    whole_batches = 90 // together.RECIPE.batch_size * together.RECIPE.batch_size
    asked = first["asked"]["train"] + second["asked"]["train"]
    assert len(asked) == epochs * whole_batches
    each = [asked.count(index) for index in range(90)]
    assert max(each) <= epochs, "nobody twice in an epoch"
    seen = sorted(first["asked"]["validation"] + second["asked"]["validation"])
    assert seen == sorted(list(range(31)) * epochs), "each sample is scored once, by one of them"


@pytest.mark.long
def test_two_processes_score_like_one_and_hold_the_same_weights(two_processes: Path) -> None:
    assert weights(two_processes / "whole-0") == weights(two_processes / "whole-1")
    facts = json.loads((two_processes / "whole-0.json").read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = train(toys.spec(), together.RECIPE, device="cpu")
    finally:
        torch.set_num_threads(threads)
    score, other = facts["scores"]["accuracy"], alone.scores["accuracy"]
    assert score["samples"] == other.samples == 40
    assert score["low"] <= other.high
    assert other.low <= score["high"], "the same within what 40 samples can tell"


@pytest.mark.long
def test_two_processes_that_failed_go_on_and_end_with_the_same_weights(two_processes: Path) -> None:
    assert together_by_torchrun(two_processes, "cut") == 1
    assert together_by_torchrun(two_processes, "resumed") == 0
    assert weights(two_processes / "resumed-0") == weights(two_processes / "whole-0")


def test_another_recipe_is_no_continuation(tmp_path: Path) -> None:
    keep = tmp_path / "toy.unfinished"
    with pytest.raises(InterruptedError):
        together.run(keep, halt=together.HALT)
    other = Recipe(epochs=9, batch_size=16, learning_rate=0.5, weight_decay=0.01)
    with pytest.raises(CheckpointError, match=r"learning_rate"):
        train(toys.spec(), other, device="cpu", keep=keep, resumed=True)


def test_a_damaged_state_is_told_and_not_trained_on(tmp_path: Path) -> None:
    keep = tmp_path / "toy.unfinished"
    with pytest.raises(InterruptedError):
        together.run(keep, halt=together.HALT)
    (state,) = keep.glob("*.safetensors")
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        together.run(keep, resumed=True)
    (keep / unfinished.FACTS).write_text("{")
    with pytest.raises(CheckpointError, match=unfinished.FACTS):
        together.run(keep, resumed=True)
