"""`sameway export --model`: a folder that knows nothing of Sameway, from its code, weights and inputs to a version."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import cli
from models.repository import Repository

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, flag):
        print("forward sees", len(x), "rows")
        scores = self.linear(x)
        return {"scores": torch.where(flag[:, None], scores, -scores), "best": scores.argmax(-1)}

def build():
    print("building")
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a network, its inputs and its weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "net", raising=False)
    (tmp_path / "net.py").write_text(CODE)
    random = np.random.default_rng(0)
    np.savez(tmp_path / "samples.npz", x=random.normal(size=(40, 4)).astype(np.float32), flag=random.random(40) > 0.5)
    torch.manual_seed(1)
    weights = {"linear.weight": torch.randn(3, 4), "linear.bias": torch.randn(3)}
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path


def export(*words: str) -> int:
    given = ["--model", "net:build", "--inputs", "samples.npz", "--name", "net", "--formats", "torchscript"]
    return cli.main(["export", *given, *words])


def test_a_model_is_published_and_its_words_stay_out_of_the_report(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "add", "net.py"], cwd=folder, check=True)
    subprocess.run(["git", *author, "commit", "-qm", "net"], cwd=folder, check=True)
    assert export("--weights", "weights.safetensors", "--outputs", "best,scores", "--max-batch-size", "8") == 0
    out, err = capfd.readouterr()
    assert "forward sees" not in out
    assert "building" not in out
    assert err.startswith("building\nforward sees 8 rows\n")
    assert "lines; the first are on standard error" in out
    version = Repository(folder / "models").open("net", 1)
    assert out.splitlines()[-1] == f"published net/1 sha256:{version.digest}"
    manifest = version.manifest
    assert [spec.name for spec in manifest.signature.outputs] == ["best", "scores"]
    assert manifest.signature.max_batch_size == 8
    assert manifest.origin.recipe["model"] == "net:build"
    assert manifest.origin.recipe["weights"] == "weights.safetensors"
    assert (len(manifest.origin.commit or ""), manifest.origin.dirty) == (40, True)


def test_a_decision_of_the_module_is_exported_as_a_script(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changed = CODE.replace("scores = self.linear(x)", "scores = self.linear(x) if x.sum() > 0 else x[:, :3] * 2")
    (folder / "net.py").write_text(changed.replace('print("forward sees", len(x), "rows")', ""))
    assert export("--torchscript", "script", "--max-batch-size", "1") == 0
    (folder / "net.py").write_text(changed)
    capfd.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--model", "net:none"],
            "--model net:none: cannot be imported: AttributeError: module 'net' has no attribute 'none'",
        ),
        (["--inputs", "none.npz"], "none.npz: expected an .npz file of arrays: FileNotFoundError: "),
        (["--weights", "none.pt"], "weights none.pt: No such file or directory"),
        (["--dynamic", "y:1"], "dynamic: expected an input of x, flag, found 'y'"),
        (["--outputs", "a,b,c"], "outputs: expected some of scores, best, or 2 new names for them, found a, b, c"),
        (["--data-dir", "."], "--data-dir: expected with a checkpoint only, whose model reads data, found --model"),
    ],
)
def test_what_cannot_run_is_one_line_and_exit_code_2(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(*words) == 2
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == ""
    assert last.startswith(f"sameway export: {message}")
    assert not (folder / "models").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "net:build", "--name", "net"], "--inputs: expected with --model, found nothing"),
        (["--model", "net:build", "--inputs", "samples.npz"], "--name: expected with --model, found nothing"),
        (["digits", "--weights", "w.pt"], "--weights: expected together with --model, found a checkpoint"),
        (["digits", "--max-batch-size", "0"], "--max-batch-size: expected together with --model, found a checkpoint"),
    ],
)
def test_arguments_that_would_say_nothing_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", *words]) == 2
    assert capsys.readouterr() == ("", f"sameway export: {message}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the arguments checkpoint --model is required"),
        (["digits", "--model", "net:build"], "argument --model: not allowed with argument checkpoint"),
        (["--model", "net:build", "--dynamic", "x"], "expected INPUT:AXIS or INPUT:AXIS,AXIS, found 'x'"),
        (["--model", "net:build", "--dynamic", "x:-1"], "expected INPUT:AXIS or INPUT:AXIS,AXIS, found 'x:-1'"),
        (["--model", "net:build", "--max-batch-size", "-1"], "argument --max-batch-size"),
    ],
)
def test_a_wrong_command_line_says_what_was_expected(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
