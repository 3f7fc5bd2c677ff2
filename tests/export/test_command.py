"""The command line: what it prints where, and what its exit code says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import cli
from export.exporter import ExportError, ExportSource, Run
from export.torchscript import TorchScriptExporter
from models import spec as specs
from models.repository import Repository
from models.signing import Trust
from models.spec import DataError, ModelSpec, UnknownModel
from models.tensors import Array, Signature
from tests.export import checkpoints
from training import checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, in a tree whose only model is the toy."""

    def find(name: str) -> ModelSpec:
        if name != "toy":
            raise UnknownModel(f"model: expected one of toy, found {name!r}")
        return checkpoints.spec()

    monkeypatch.setattr(specs, "available", lambda: ["toy"])
    monkeypatch.setattr(specs, "find", find)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(folder: Path) -> Path:
    """Leave a checkpoint where training would."""
    return checkpoints.save(checkpoint.new_path(folder / "checkpoints", "toy")).path


def export(*words: str) -> int:
    return cli.main(["export", *words, "--formats", "torchscript"])


def test_a_model_name_exports_its_newest_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder)
    newest = save(folder)
    assert export("toy") == 0
    version = Repository(folder / "models").open("toy", 1)
    assert version.manifest.checkpoint == checkpoint.load(newest).sha256
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "toy: saved files against the eager model, 50 real samples in batches of 1, 2, 7, 8"
    assert " ".join(lines[1].split()) == "format size output max abs max rel ulp 1−cos float64 alone 4 ulp allowed"
    assert lines[2].split()[0] == "torchscript"
    assert lines[2].split()[-1] == "equal"
    assert lines[3].split()[:2] == ["before", "softmax"]
    assert lines[4].split() == ["class", *"–" * 8, "100.00%", "equal"]
    assert lines[-1] == f"published toy/1 sha256:{version.digest}"
    assert err == ""


def test_a_path_and_a_repository_may_be_named(folder: Path) -> None:
    path = checkpoints.save(folder / "elsewhere" / "one").path
    assert export(str(path), "--repository", "other") == 0
    assert Repository(folder / "other").versions("toy") == [1]


def test_both_formats_unless_told_otherwise(folder: Path) -> None:
    save(folder)
    assert cli.main(["export", "toy"]) == 0
    version = Repository(folder / "models").open("toy", 1)
    assert [artifact.format for artifact in version.manifest.artifacts] == ["onnx", "torchscript"]


def test_a_file_that_differs_is_exit_code_1(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = TorchScriptExporter.open

    def wrong(self: TorchScriptExporter, path: Path, signature: object) -> object:
        run = opened(self, path, checkpoints.spec().signature)
        return lambda inputs: {name: array + np.array(1, array.dtype) for name, array in run(inputs).items()}

    monkeypatch.setattr(TorchScriptExporter, "open", wrong)
    save(folder)
    assert export("toy") == 1
    out = capsys.readouterr().out
    assert out.count("DIFFERS") == 2
    assert "torchscript: probabilities: 1,000 of 1,000 values are off; worst: sample " in out
    assert out.splitlines()[-1] == "toy: nothing published"
    assert Repository(folder / "models").versions("toy") == []


def test_a_format_that_fails_is_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(self: TorchScriptExporter, source: ExportSource, path: Path) -> None:
        raise ExportError("torchscript: the module cannot be traced: it reads the weather")

    monkeypatch.setattr(TorchScriptExporter, "export", cannot)
    save(folder)
    assert export("toy") == 2
    out, err = capsys.readouterr()
    assert err == "sameway export: torchscript: the module cannot be traced: it reads the weather\n"
    assert "not exported" in out
    assert out.splitlines()[-1] == "toy: nothing published"


def damaged(folder: Path) -> None:
    (save(folder) / checkpoint.WEIGHTS).write_bytes(b"damaged")


def without_a_number(folder: Path) -> None:
    facts = save(folder) / checkpoint.FACTS
    facts.write_text(facts.read_text().replace('"epochs": 0', '"epochs": NaN'))


def of_another_model(folder: Path) -> None:
    path = checkpoint.new_path(folder / "checkpoints", "toy")
    checkpoints.save(path, origin=replace(checkpoints.ORIGIN, model="other"))


def unwritable(folder: Path) -> None:
    save(folder)
    (folder / "models").write_text("a file where the repository should be")


def nothing(folder: Path) -> None:
    """Leave the folder empty."""


@pytest.mark.parametrize(
    ("prepare", "word", "message"),
    [
        (nothing, "toy", "no checkpoint of 'toy'"),
        (nothing, "toyz", "expected a model (toy) or the path of a checkpoint, found 'toyz'"),
        (damaged, "toy", "damaged"),
        (without_a_number, "toy", "checkpoint.json: recipe: expected finite numbers and whole texts, found "),
        (of_another_model, "toy", "model: expected one of toy, found 'other'"),
        (unwritable, "toy", "cannot write to models/toy"),
    ],
)
def test_what_cannot_run_is_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[[Path], None], word: str, message: str
) -> None:
    prepare(folder)
    assert export(word) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sameway export: ")
    assert message in err
    assert err.count("\n") == 1


def test_missing_data_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(count: int, data_dir: Path | None) -> dict[str, Array]:
        raise DataError(f"{data_dir}/images.gz: no such file")

    monkeypatch.setattr(specs, "find", lambda name: replace(checkpoints.spec(), samples=missing))
    save(folder)
    assert export("toy", "--data-dir", "nowhere") == 2
    assert capsys.readouterr().err == "sameway export: nowhere/images.gz: no such file\n"


def test_ctrl_c_is_exit_code_130_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: TorchScriptExporter, source: ExportSource, path: Path) -> None:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchScriptExporter, "export", interrupted)
    save(folder)
    assert export("toy") == 130
    assert capsys.readouterr() == ("", "")
    assert list((folder / "models" / "toy").iterdir()) == []


@pytest.mark.parametrize("formats", ["onnxx", "", "onnx,,torchscript"])
def test_an_unknown_format_is_a_wrong_command_line(formats: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", "toy", "--formats", formats])
    assert stopped.value.code == 2
    assert "expected some of onnx, exported_program, torchscript" in capsys.readouterr().err


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    assert "0  published; with --dry-run, all files agree\n" in capsys.readouterr().out


def test_a_signed_export_is_believed_by_who_trusts_its_key(folder: Path) -> None:
    save(folder)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    assert export("toy", "--sign", "key.pem") == 0
    assert Repository(folder / "models", trust=Trust([key.public_key()], required=True)).open("toy", 1)


def test_a_key_that_cannot_sign_is_2_before_anything_is_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder)
    (folder / "key.pem").write_text("no key")
    assert export("toy", "--sign", "key.pem") == 2
    assert capsys.readouterr().err.startswith("sameway export: key.pem: expected an Ed25519 private key")
    assert not (folder / "models").exists()


def test_an_opset_out_of_range_is_one_line_and_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder)
    assert cli.main(["export", "toy", "--formats", "onnx", "--opset", "9"]) == 2
    assert capsys.readouterr().err == "sameway export: opset: expected 18 to 23, found 9\n"
    assert not (folder / "models").exists()


def test_a_file_that_this_machine_cannot_open_is_exit_code_2_and_said_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(self: TorchScriptExporter, path: Path, signature: object) -> object:
        raise ExportError("torchscript: cannot open model.pt: too new")

    monkeypatch.setattr(TorchScriptExporter, "open", cannot)
    save(folder)
    assert export("toy") == 2
    out, err = capsys.readouterr()
    assert "not checked here" in out
    assert err == "sameway export: torchscript: cannot open model.pt: too new; exported, but not checked here\n"


def test_a_script_is_asked_for_by_its_flag(folder: Path) -> None:
    save(folder)
    assert export("toy", "--torchscript", "script") == 0


def test_an_exported_program_is_published_when_asked_for(folder: Path) -> None:
    save(folder)
    assert cli.main(["export", "toy", "--formats", "exported_program,onnx"]) == 0
    version = Repository(folder / "models").open("toy", 1)
    assert [artifact.file for artifact in version.manifest.artifacts] == ["model.pt2", "model.onnx"]


def test_a_dry_run_checks_everything_and_leaves_the_repository_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder)
    assert export("toy", "--dry-run") == 0
    assert "toy: all agree; a dry run, nothing published" in capsys.readouterr().out
    opened = TorchScriptExporter.open

    def wrong(self: TorchScriptExporter, path: Path, signature: Signature) -> Run:
        run = opened(self, path, signature)
        return lambda inputs: {name: output + 1 for name, output in run(inputs).items()}

    monkeypatch.setattr(TorchScriptExporter, "open", wrong)
    assert export("toy", "--dry-run") == 1
    assert "toy: nothing published" in capsys.readouterr().out
    assert not (folder / "models").exists()


def test_reports_are_written_for_programs_and_browsers(folder: Path) -> None:
    save(folder)
    assert export("toy", "--dry-run", "--report", "runs/parity") == 0
    assert sorted(path.name for path in (folder / "runs" / "parity").iterdir()) == [
        "junit.xml",
        "report.html",
        "report.json",
    ]
    assert json.loads((folder / "runs" / "parity" / "report.json").read_bytes())["passed"] is True


def test_what_could_not_run_is_reported_to_ci_too(folder: Path) -> None:
    assert export("nowhere", "--report", "runs") == 2
    (suite,) = ElementTree.fromstring((folder / "runs" / "junit.xml").read_bytes())
    assert suite.get("errors") == "1"


def test_a_report_that_cannot_be_written_is_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder)
    (folder / "runs").write_text("a file")
    assert export("toy", "--dry-run", "--report", "runs/parity") == 2
    assert capsys.readouterr().err == "sameway export: --report runs/parity: Not a directory\n"


def test_a_tolerance_may_be_stated_and_is_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder)
    assert export("toy", "--atol", "1e-3", "--rtol", "0.01") == 0
    assert "allowed: as stated, 0.001 + 0.01 × the expected value" in capsys.readouterr().out
    (artifact,) = Repository(folder / "models").open("toy", 1).manifest.artifacts
    first, _ = artifact.parity.outputs
    assert (first.atol, first.rtol) == (0.001, 0.01)
    assert 0.001 < artifact.tolerance["probabilities"] == first.tolerance <= 0.011
    assert export("toy", "--atol", "1e-30") == 1
    assert export("toy", "--rtol", "nan") == 2
    assert capsys.readouterr().err == "sameway export: rtol: expected a finite number, 0 or more, found nan\n"
