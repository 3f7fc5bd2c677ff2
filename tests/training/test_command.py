import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cli
from models import spec as specs
from models.spec import DataError, Datasets, ModelSpec
from tests.training import toys
from training import checkpoint, command, unfinished
from training.checkpoint import CheckpointError
from training.task import TrainingError
from training.train import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """Make the toy the one model that the command finds."""
    toy = toys.spec()
    monkeypatch.setattr(command, "find", lambda name: toy if name == "toy" else specs.find(name))
    return toy


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run the command, which is to fail; return the exit code and the one line on standard error."""
    exit_code = cli.main(["train", *words])
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured
    assert lines[0].startswith("sameway train: ")
    return exit_code, lines[0].removeprefix("sameway train: ")


def test_it_trains_scores_and_saves(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "toy", "--epochs", "4", "--seed", "9", "--batch-size", "8", "--learning-rate", "0.1"]) == 0
    captured = capsys.readouterr()
    path = checkpoint.newest(Path("checkpoints"), "toy")
    saved = checkpoint.load(path)
    assert (saved.origin.model, saved.origin.seed) == ("toy", 9)
    recipe = {**saved.origin.recipe}
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"]) == (4, 8, 0.1)
    assert recipe["weight_decay"] == toy.recipe.weight_decay
    checkpoint.restore(saved, toy.build())
    lines = captured.out.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 4
    assert lines[-1] == f"checkpoint {path}"
    accuracy = 100 * saved.origin.scores["accuracy"]
    assert f"toy: test accuracy {accuracy:.2f} % (95 % interval " in captured.out
    assert "on cpu, seed 9" in captured.out
    assert captured.err == ""
    assert sorted(path.name for path in Path().iterdir()) == ["checkpoints"]


def test_the_same_command_gives_the_same_file(toy: ModelSpec) -> None:
    digests = []
    for seed in ("1", "1", "2"):
        assert cli.main(["train", "toy", "--epochs", "2", "--seed", seed, "--checkpoints", "kept"]) == 0
        digests.append(checkpoint.load(checkpoint.newest(Path("kept"), "toy")).sha256)
    assert digests[0] == digests[1] != digests[2]


def test_its_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    for option in ("--epochs", "--batch-size", "--learning-rate", "--seed", "--device", "--data-dir", "--checkpoints"):
        assert option in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "model: expected one of"),
        (["toy", "--epochs", "0"], "epochs: expected 1 to 1000000, found 0"),
        (["toy", "--batch-size", "-1"], "batch_size: expected 1 to 1000000, found -1"),
        (["toy", "--learning-rate", "0"], "learning_rate: expected a finite number above 0, found 0.0"),
        (["toy", "--learning-rate", "nan"], "learning_rate: expected a finite number above 0, found nan"),
        (["toy", "--seed", "-1"], "seed: expected 0 to 9223372036854775807, found -1"),
        (["toy", "--seed", str(2**64)], "seed: expected"),
        (["toy", "--epochs", "9" * 20], "epochs: expected 1 to 1000000, found 9999"),
        (["toy", "--batch-size", "9" * 20], "batch_size: expected 1 to 1000000, found 9999"),
        (["toy", "--threads", "0"], "threads: expected 1 to "),
        (["toy", "--threads", "1000000"], "threads: expected 1 to "),
        (["toy", "--threads", "99999999999"], "threads: expected 1 to "),
        (["toy", "--patience", "-1"], "patience: expected 0 to 1000000, found -1"),
        (["toy", "--precision", "64"], "precision: expected one of 32, bf16, 16, found '64'"),
        (["toy", "--recipe", "absent.toml"], "absent.toml: expected a TOML file, found 'No such file or directory'"),
        (["toy", "--devices", "0"], "devices: expected 1 to "),
        (["toy", "--devices", "3"], "batch_size: expected a multiple of the 3 devices, found 16"),
        (["toy", "--device", "cuda"], "device: expected a CUDA device that torch can use, found none"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    toy: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    exit_code, line = failure(capsys, *words)
    assert exit_code == 2
    assert line.startswith(message)
    assert checkpoints() == []


def checkpoints() -> list[Path]:
    return [path for path in Path("checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize("words", [["toy", "--epochs", "many"], ["toy", "--device", "tpu"], []])
def test_what_argparse_refuses_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", *words])
    assert "sameway train: error: " in capsys.readouterr().err


def test_missing_data_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    exit_code, line = failure(capsys, "digits", "--data-dir", str(tmp_path / "absent"))
    assert exit_code == 1
    assert line.startswith(f"{tmp_path}/absent: expected train-images-idx3-ubyte.gz")


def test_damaged_data_are_one_line(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(data_dir: Path | None) -> Datasets:
        raise DataError("file: damaged")

    monkeypatch.setattr(command, "find", lambda name: replace(toy, datasets=damaged))
    assert failure(capsys, "toy") == (1, "file: damaged")


def test_a_folder_that_cannot_be_written_is_told_before_training(
    toy: ModelSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    exit_code, line = failure(capsys, "toy", "--checkpoints", "file")
    assert (exit_code, line) == (1, "file/toy: cannot write here: Not a directory")


def test_a_full_disk_is_one_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    assert cli.main(["train", "toy"]) == 1
    warning, failed = capsys.readouterr().err.splitlines()  # three epochs, one warning
    assert warning.endswith(".unfinished: cannot keep the run's state, training goes on: No space left on device")
    assert failed.endswith("cannot write the checkpoint: No space left on device; no checkpoint was written")
    assert list(Path("checkpoints/toy").iterdir()) == []


def test_a_loss_that_blows_up_is_one_line(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    def blow_up(*_: object, **__: object) -> None:
        raise TrainingError("epoch 1, step 2: the loss is nan")

    monkeypatch.setattr(command, "train", blow_up)
    assert failure(capsys, "toy") == (1, "epoch 1, step 2: the loss is nan")


def interrupt(monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, batches: int) -> None:
    """Let the toy be interrupted at its n-th batch, once."""
    left = iter(range(batches, -1, -1))

    def augment(inputs: object) -> dict[str, torch.Tensor]:
        if next(left, -1) == 0:
            raise KeyboardInterrupt
        return toys.jitter(inputs)

    monkeypatch.setattr(command, "find", lambda name: replace(toy, augment=augment))


def test_what_was_interrupted_goes_on_and_ends_as_if_it_never_was(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("recipe.toml").write_text('optimizer = "sgd"\nepochs = 9\n')
    words = ["toy", "--seed", "3", "--recipe", "recipe.toml", "--epochs", "4", "--threads", "1"]
    assert cli.main(["train", *words, "--checkpoints", "whole"]) == 0
    whole = checkpoint.load(checkpoint.newest(Path("whole"), "toy"))
    assert (whole.origin.recipe["optimizer"], whole.origin.recipe["epochs"]) == ("sgd", 4)
    interrupt(monkeypatch, toy, 12)
    capsys.readouterr()
    exit_code, line = failure(capsys, *words)
    (kept,) = Path("checkpoints/toy").iterdir()
    assert (exit_code, line) == (130, f"interrupted; go on with: sameway train toy --resume {kept}")
    for wrong in (["--seed", "4"], ["--epochs", "5"], ["--precision", "bf16"]):
        exit_code, line = failure(capsys, "toy", "--resume", str(kept), *wrong)
        assert exit_code == 1
        assert line.startswith(f"{kept}: cannot go on with another run than it was: ")
    assert cli.main(["train", "toy", "--resume"]) == 0
    (path,) = Path("checkpoints/toy").iterdir()
    assert path == kept.with_suffix("")  # named after the time when it began
    assert checkpoint.load(path).sha256 == whole.sha256
    assert checkpoint.load(path).origin == whole.origin


def test_an_interruption_in_the_first_epoch_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, toy, 2)
    assert failure(capsys, "toy") == (130, "interrupted; no checkpoint was written")
    assert list(Path("checkpoints/toy").iterdir()) == []


def test_a_disk_that_is_full_at_the_end_costs_no_epoch(
    monkeypatch: pytest.MonkeyPatch, toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:

        def no_space(*_: object) -> None:
            raise CheckpointError("checkpoint: cannot write the checkpoint: No space left on device")

        patched.setattr(checkpoint, "save", no_space)
        exit_code, line = failure(capsys, "toy")
    (kept,) = Path("checkpoints/toy").iterdir()
    remedy = f"go on with: sameway train toy --resume {kept}"
    assert (exit_code, line) == (1, f"checkpoint: cannot write the checkpoint: No space left on device; {remedy}")
    assert cli.main(["train", "toy", "--resume"]) == 0
    assert cli.main(["train", "toy", "--checkpoints", "whole"]) == 0
    digests = [checkpoint.load(checkpoint.newest(Path(root), "toy")).sha256 for root in ("checkpoints", "whole")]
    assert digests[0] == digests[1]


def test_what_cannot_be_resumed_is_told(toy: ModelSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert failure(capsys, "toy", "--resume") == (
        1,
        "no unfinished run of 'toy' in checkpoints: there is nothing to resume",
    )
    exit_code, line = failure(capsys, "toy", "--resume", "absent.unfinished")
    assert (exit_code, line) == (
        1,
        "absent.unfinished/run.json: not an unfinished run: No such file or directory",
    )
    kept = tmp_path / "T.unfinished"
    train(toy, device="cpu", keep=kept)
    (tmp_path / "T").mkdir()
    exit_code, line = failure(capsys, "toy", "--resume", str(kept))
    assert (exit_code, line) == (
        1,
        f"{kept}: this run is finished, its checkpoint is {tmp_path / 'T'}; the folder can be removed",
    )
    kept.rename(tmp_path / "renamed")
    assert failure(capsys, "toy", "--resume", "renamed") == (1, "renamed: expected a folder named TIME.unfinished")


def test_a_log_is_written_where_it_can_be_and_told_where_not(
    toy: ModelSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["train", "toy", "--log", "logs"]) == 0
    (folder,) = Path("logs/toy").iterdir()
    assert (folder / "metrics.csv").is_file()
    (tmp_path / "file").touch()
    capsys.readouterr()
    exit_code, line = failure(capsys, "toy", "--log", "file")
    assert exit_code == 1
    assert line.startswith("[Errno 20] Not a directory: 'file/toy/")
    assert line.endswith("; no checkpoint was written")


def test_a_precision_that_the_device_lacks_is_said_and_not_recorded(
    toy: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "toy", "--precision", "16", "--device", "cpu"]) == 0
    warning = "sameway train: precision: cpu does not compute with 16; training with 32\n"
    assert capsys.readouterr().err == warning
    assert checkpoint.load(checkpoint.newest(Path("checkpoints"), "toy")).origin.recipe["precision"] == "32"


def test_make_clean_keeps_what_took_an_hour_to_train() -> None:
    lines = (ROOT / "Makefile").read_text().split("\nclean:")[1].split("\n\n")[0].splitlines()
    assert "checkpoints and published versions stay" in lines[0]
    assert lines[1].startswith("\trm -rf ")
    assert "checkpoints" not in lines[1]


def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-W", "error", "-m", "cli", "train", "digits", "--epochs", "1000", "--threads", "1"]
    # A shell that runs the tests in the background makes all that it starts ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert first.startswith("epoch    1/1000  loss ")
    assert process.returncode == 130
    (kept,) = Path("checkpoints/digits").iterdir()
    assert errors == f"sameway train: interrupted; go on with: sameway train digits --resume {kept}\n"
    assert unfinished.load(kept).epoch >= 1
