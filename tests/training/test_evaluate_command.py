"""The command as people run it, on checkpoints that were trained a moment ago and on versions that were published."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cli
from models import spec as specs
from models.repository import Repository
from models.spec import Datasets, ModelSpec
from tests import toys as published
from tests.export import checkpoints as classifier
from tests.export import modules
from tests.test_cli import sameway, without
from tests.training import kinds, toys
from training import checkpoint, command, evaluate_command, report_html


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelSpec]:
    """The models that the commands find besides those of the tree; the toy at first."""
    found = {"toy": toys.spec()}
    for one in (command, evaluate_command):
        monkeypatch.setattr(one, "find", lambda name: found[name] if name in found else specs.find(name))
    return found


def succeeds(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command, which is to succeed and to say nothing on standard error; return what it printed."""
    assert cli.main([*words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Evaluate, which is to fail; return the exit code and the one line on standard error."""
    exit_code = cli.main(["evaluate", *words])
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("sameway evaluate: ")
    return exit_code, line.removeprefix("sameway evaluate: ")


def test_what_train_prints_is_what_evaluate_prints(
    offered: dict[str, ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    trained = succeeds(capsys, "train", "toy", "--epochs", "3", "--threads", "1")
    (line,) = [line for line in trained.splitlines() if line.startswith("toy: test ")]
    told = succeeds(capsys, "evaluate", "toy", "--threads", "1")
    assert line in told.splitlines()
    assert "note:" not in told
    path = checkpoint.newest(Path("checkpoints"), "toy")
    assert told == succeeds(capsys, "evaluate", "toy", str(path), "--threads", "1")


def test_an_exported_version_scores_as_its_checkpoint(
    offered: dict[str, ModelSpec], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(classifier.spec(), datasets=labelled)
    offered["toy"] = spec
    monkeypatch.setattr(specs, "find", lambda name: spec)
    monkeypatch.setattr(specs, "available", lambda: ["toy"])
    classifier.save(Path("checkpoints/toy/2026"), origin=replace(classifier.ORIGIN, scores={}))
    assert cli.main(["export", "toy", "--formats", "onnx,torchscript", "--repository", "published"]) == 0
    capsys.readouterr()
    scores, formats = [], []
    for words in ([], ["1"], ["published/toy/1", "--format", "torchscript"]):
        succeeds(capsys, "evaluate", "toy", *words, "--repository", "published", "--report", "report", "--threads", "1")
        (told,) = json.loads(Path("report/report.json").read_text())["subjects"]
        scores.append(told["scores"])
        formats.append(told["format"])
    assert formats == [None, "onnx", "torchscript"]
    for other in scores[1:]:
        assert other["accuracy"] == scores[0]["accuracy"]
        assert other["ece"]["value"] == pytest.approx(scores[0]["ece"]["value"], abs=1e-5)
    same = succeeds(capsys, "evaluate", "toy", "--compare", "checkpoints/toy/2026", "1", "--repository", "published")
    assert same.splitlines()[-1].startswith("no difference shown at 95 % (McNemar's exact test: p = 1; ")


def labelled(folder: Path | None) -> Datasets:
    """Return the classifier's samples, with classes of which it is right about some."""
    images = torch.from_numpy(classifier.images())
    right = modules.classifier().module(images)[1]
    targets = torch.where(torch.arange(50) % 3 == 0, (right + 1) % 5, right)
    split = classifier.Items([({"image": image}, target) for image, target in zip(images, targets, strict=True)])
    return Datasets(split, split, split, "d" * 64)


def test_the_better_of_two_versions_is_named(offered: dict[str, ModelSpec], capsys: pytest.CaptureFixture[str]) -> None:
    offered["toy"] = published_spec(truth=1)
    for seed in (0, 1):
        published.publish(Path("published"), seed=seed)
    told = succeeds(capsys, "evaluate", "toy", "--compare", "1", "2", "--repository", "published", "--report", "report")
    last = told.splitlines()[-1]
    assert last.startswith("toy/2 (onnx) is better (McNemar's exact test: p = ")
    assert "only the first is right on 0 samples" in last
    assert last in Path("report/report.html").read_text().replace("&#39;", "'")
    facts = json.loads(Path("report/report.json").read_text())
    assert [one["subject"] for one in facts["subjects"]] == ["toy/1", "toy/2"]
    assert facts["comparison"]["better"] == 1


def published_spec(truth: int) -> ModelSpec:
    """Return the toy that is published here, on 60 images about which the one of that seed is always right."""
    pixels = published.images(60)
    targets = torch.from_numpy(published.reference(pixels, truth)["class"])
    split = kinds.Items([{"image": torch.from_numpy(image)} for image in pixels], targets)
    own = toys.spec()
    return replace(
        own,
        signature=published.signature(),
        content=published.content(),
        task=replace(own.task, output="probabilities"),
        datasets=lambda folder: Datasets(split, split, split, "0" * 64),
    )


@pytest.mark.parametrize("model", ["digits", "novelty"])
def test_real_models_are_evaluated_and_reported(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Their networks as they are built: what is looked at here is the report, on all of the real test split.
    spec = specs.find(model)
    torch.manual_seed(0)
    kinds.save(spec, Path("checkpoints") / model / "2026", data=spec.datasets(None).checksum)
    told = succeeds(capsys, "evaluate", model, "--threads", "1", "--report", "deep/report")
    facts = json.loads(Path("deep/report/report.json").read_text())
    first = {"digits": "accuracy", "novelty": "auroc"}[model]
    assert f"{model}: test {first} " in told
    assert next(iter(facts["subjects"][0]["scores"])) == first
    assert facts["samples"] >= 1000  # digits of the test split; novelty has foreign images besides
    assert "data:image/png;base64," in Path("deep/report/report.html").read_text()


def test_without_a_report_nothing_is_written(offered: dict[str, ModelSpec], capsys: pytest.CaptureFixture[str]) -> None:
    kinds.save(toys.spec(), Path("checkpoints/toy/2026"), data=toys.CHECKSUM)
    succeeds(capsys, "evaluate", "toy")
    assert sorted(path.name for path in Path().iterdir()) == ["checkpoints"]


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["nobody"], 2, "model: expected one of "),
        (["toy", "--threads", "0"], 2, "threads: expected 1 to "),
        (["toy", "1", "--compare", "1", "2"], 2, "--compare: expected no other checkpoint or version, found '1'"),
        (["toy", "--format", "onnx"], 2, "--format onnx: expected a version, found checkpoints/toy/2026, a checkpoint"),
        (["toy", "--checkpoints", "none"], 1, "no checkpoint of 'toy' in none: run `sameway train toy` first"),
        (["toy", "absent"], 1, "absent: expected the folder of a checkpoint or of a version"),
        (
            ["toy", "7"],
            1,
            "expected the folder of a version, as in models/digits/3, found 'models/toy/7': no versions there",
        ),
        (["toy", "--compare", "checkpoints/toy/2026", "7"], 1, "expected the folder of a version"),
        (
            ["digits", "checkpoints/toy/2026"],
            1,
            "checkpoints/toy/2026: expected a checkpoint of 'digits', found one of 'toy'",
        ),
        (["toy", "--report", "file"], 1, "--report file: File exists"),
        (["toy", "--report", "file/deeper"], 1, "--report file/deeper: Not a directory"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(
    offered: dict[str, ModelSpec],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    exit_code: int,
    message: str,
) -> None:
    kinds.save(toys.spec(), Path("checkpoints/toy/2026"))
    Path("file").touch()
    code, line = failure(capsys, *words)
    assert code == exit_code
    assert line.startswith(message)


@pytest.mark.parametrize("words", [["toy", "1", "--format", "pickle"], [], ["toy", "--compare", "1"]])
def test_what_argparse_refuses_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", *words])
    assert "sameway evaluate: error: " in capsys.readouterr().err


def test_missing_data_and_damaged_weights_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    kinds.save(specs.find("digits"), Path("checkpoints/digits/2026"))
    code, line = failure(capsys, "digits", "--data-dir", "absent")
    assert (code, line[:39]) == (1, "absent: expected train-images-idx3-ubyt")
    with Path("checkpoints/digits/2026/weights.safetensors").open("r+b") as file:
        file.write(b"\xff")
    code, line = failure(capsys, "digits")
    assert code == 1
    assert "weights.safetensors: damaged: expected sha256 " in line


def test_an_altered_version_is_one_line(offered: dict[str, ModelSpec], capsys: pytest.CaptureFixture[str]) -> None:
    offered["toy"] = published_spec(truth=0)
    version = published.publish(Path("published"))
    (version.path / "golden.npz").unlink()
    code, line = failure(capsys, "toy", "1", "--repository", "published")
    assert code == 1
    assert line.startswith("toy/1: golden.npz: ")
    assert Repository(Path("published")).versions("toy") == [1]


def test_a_report_that_cannot_be_written_after_all_is_one_line(
    offered: dict[str, ModelSpec], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds.save(toys.spec(), Path("checkpoints/toy/2026"))
    Path("report/report.html").mkdir(parents=True)
    assert failure(capsys, "toy", "--report", "report") == (1, "--report report: Is a directory")


def test_ctrl_c_is_130(
    offered: dict[str, ModelSpec], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds.save(toys.spec(), Path("checkpoints/toy/2026"))

    def interrupted(found: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(report_html, "to_bytes", interrupted)
    assert cli.main(["evaluate", "toy", "--report", "report"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_without_a_report_matplotlib_and_jinja2_are_not_needed(tmp_path: Path) -> None:
    kinds.save(specs.find("digits"), tmp_path / "checkpoints" / "digits" / "2026")
    words = ("evaluate", "digits", "--checkpoints", str(tmp_path / "checkpoints"), "--threads", "1")
    done = sameway(*words, program=without("matplotlib", "jinja2"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits: test accuracy " in done.stdout


def test_a_report_without_its_packages_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    kinds.save(specs.find("digits"), tmp_path / "checkpoints" / "digits" / "2026")
    words = ("evaluate", "digits", "--checkpoints", str(tmp_path / "checkpoints"), "--report", str(tmp_path / "report"))
    done = sameway(*words, program=without("matplotlib"))
    expected = "sameway evaluate: --report: needs the package 'matplotlib'; install it with: pip install 'sameway[train]'\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert not (tmp_path / "report").exists()
