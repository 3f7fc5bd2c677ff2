"""`sameway new`: each kind of starter trains, exports and answers under its new name, in a copy of the tree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cli
import models
from models.repository import Repository
from models.spec import ModelSpec
from tests.test_docs import tree
from training import new, starters
from training.train import train

#: In the copy: the new model trains, its samples go through its serving module, and a checkpoint of it is exported.
PROGRAM = """
import sys, cli
for words in (["new", "mine", "--task", sys.argv[1]], ["train", "mine", "--threads", "1", "--epochs", "20"],
              ["export", "mine", "--formats", "onnx,torchscript,exported_program"], ["verify", "models/mine/1"]):
    code = cli.main(words)
    if code:
        sys.exit(f"{words}: exit code {code}")
"""


def spec_of(task: str) -> ModelSpec:
    module = __import__(f"training.starters.{task}", fromlist=["SPEC"])
    spec: ModelSpec = module.SPEC
    return spec


# docs/adding-a-model.md goes this way with a classifier, and test_docs.py follows it.
@pytest.mark.parametrize("task", [pytest.param(task, marks=pytest.mark.long) for task in new.TASKS])
def test_a_new_model_goes_all_the_way(task: str, tmp_path: Path) -> None:
    variables = tree(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, task], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    manifest = Repository(tmp_path / "models").open("mine", 1).manifest
    assert manifest.model == "mine"
    assert all(artifact.parity.passed for artifact in manifest.artifacts)
    written = "".join(path.read_text() for path in (tmp_path / "models" / "mine").glob("*.*") if path.is_file())
    assert "training.starters" not in written
    assert f"`{task}`" not in written
    assert f'name="{task}"' not in written


@pytest.mark.parametrize(("task", "metric", "least"), [("classification", "accuracy", 0.8), ("novelty", "auroc", 0.8)])
def test_a_starter_learns_something(task: str, metric: str, least: float) -> None:
    torch.set_num_threads(1)
    assert train(spec_of(task)).scores[metric].value > least


def test_the_regression_explains_as_much_as_these_data_allow() -> None:
    assert train(spec_of("regression")).scores["r2"].value > 0.35  # least squares reach about 0.45


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Mine", "name: expected small letters, digits and _, beginning with a letter, found 'Mine'"),
        ("1st", "name: expected small letters"),
        ("../mine", "name: expected small letters"),
        ("class", "name: expected small letters"),
        ("", "name: expected small letters"),
        ("m" * 64, "name: expected small letters"),
        ("digits", "name: expected one that is not taken, found 'digits': "),
        ("tensors", "name: expected one that is not taken, found 'tensors': "),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", name, "--task", "regression"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sameway new: {message}")
    assert captured.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    monkeypatch.setattr(Path, "write_text", full)
    assert cli.main(["new", "mine", "--task", "novelty"]) == 1
    assert capsys.readouterr().err == f"sameway new: {tmp_path}/mine: cannot be made: {os.strerror(28)}\n"
    assert list(tmp_path.iterdir()) == []


def test_there_is_a_starter_for_every_task_and_it_has_every_file() -> None:
    root = Path(next(iter(starters.__path__)))
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("_"))
    assert folders == sorted(new.TASKS)
    for task in new.TASKS:
        files = sorted(path.name for path in (root / task).iterdir() if path.is_file())
        assert files == ["README.md", "__init__.py", "config.toml", "data.py", "model.py"]
