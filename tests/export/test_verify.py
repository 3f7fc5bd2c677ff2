"""Verifying: what is wrong with a version is found, and what could not be looked at is said."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import cli
from export.verify import Check, exit_code, verify
from models.repository import MANIFEST, SIGNATURE, ModelVersion, Repository
from models.signing import Signer
from tests import toys
from tests.serving import graphs
from tests.test_cli import without


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return toys.publish(tmp_path / "models")


def rewritten(version: ModelVersion, change: Callable[[ModelVersion], ModelVersion]) -> None:
    """Write the manifest anew, as somebody would who can make every checksum right."""
    (version.path / MANIFEST).write_bytes(change(version).manifest.to_bytes())


def test_a_version_is_verified_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = toys.publish(tmp_path, formats=("onnx", "torchscript"))
    assert cli.main(["verify", str(version.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"toy/1 sha256:{version.digest}"
    assert lines[2] == "checksums   right: manifest.json, model.onnx, model.pt, golden.npz"
    assert lines[3] == "signature   none"
    table = [line.split() for line in lines[6:-2]]
    assert table[0] == ["artifact", "output", "max", "abs", "allowed"]
    assert [(row[0], row[1], row[-1]) for row in table[1:-1]] == [
        ("onnx", "probabilities", "equal"),
        ("onnx", "class", "equal"),
        ("torchscript", "probabilities", "equal"),
        ("torchscript", "class", "equal"),
    ]
    assert lines[-3].startswith("content ")
    assert lines[-1] == "toy/1: 2 of 2 artifacts are right"


def test_the_folder_of_a_model_means_its_newest_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.publish(tmp_path)
    newest = toys.publish(tmp_path, seed=1)
    assert cli.main(["verify", str(tmp_path / "toy")]) == 0
    assert capsys.readouterr().out.startswith(f"toy/2 sha256:{newest.digest}\n")


def test_a_model_without_a_batch_axis_is_verified(tmp_path: Path) -> None:
    version = graphs.publish_counting(tmp_path)
    assert [check.passed for check in verify(version)] == [True]


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz", MANIFEST])
def test_an_altered_file_is_1_and_named(version: ModelVersion, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((version.path / file).read_bytes())
    # The manifest has no checksum of its own: what still is JSON is for its signature to guard.
    data[0 if file == MANIFEST else len(data) // 2] ^= 0x40
    (version.path / file).write_bytes(data)
    assert cli.main(["verify", str(version.path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sameway verify: toy/1: ")
    assert file in err
    assert err.count("\n") == 1


def test_outputs_that_differ_are_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {name: array + np.array(1, array.dtype) for name, array in toys.reference(toys.images(8, seed=99)).items()}
    version = toys.publish(tmp_path, golden=wrong)
    assert cli.main(["verify", str(version.path)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "8 of 8 values differ" in out
    assert out.splitlines()[-1] == "toy/1: WRONG: onnx"


def test_a_file_that_no_runtime_opens_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = toys.publish(tmp_path)
    artifact = replace(version.manifest.artifacts[0], format="torchscript", file=version.manifest.golden.file)
    sample = version.manifest.golden
    artifact = replace(artifact, sha256=sample.sha256, size_bytes=sample.size_bytes)
    rewritten(version, lambda one: replace(one, manifest=replace(one.manifest, artifacts=(artifact,))))
    assert cli.main(["verify", str(version.path)]) == 1
    assert "torchscript: cannot open golden.npz" in capsys.readouterr().out


def test_a_signature_is_demanded_where_keys_are_given(
    version: ModelVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(pem)
    words = ["verify", str(version.path), "--trusted-keys", str(tmp_path / "keys.pem")]
    assert cli.main(words) == 1
    assert "expected a signature, found none" in capsys.readouterr().err
    (version.path / SIGNATURE).write_bytes(Signer(key).sign((version.path / MANIFEST).read_bytes()))
    assert cli.main(words) == 0
    assert "signature   by a trusted key\n" in capsys.readouterr().out
    assert cli.main(["verify", str(version.path)]) == 0
    assert "signature   not checked: there is one" in capsys.readouterr().out
    (version.path / SIGNATURE).write_bytes(Signer(Ed25519PrivateKey.generate()).sign(b""))
    assert cli.main(words) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere/1"], "expected the folder of a version, as in models/digits/3, found 'nowhere/1': no versions there"),
        (["models/toy/7"], "found 'models/toy/7': the versions 1"),
        (["models/toy/1", "--trusted-keys", "absent.pem"], "absent.pem: No such file"),
        (["models/to y/1"], "model name: expected letters"),
    ],
)
def test_what_cannot_be_checked_at_all_is_2(
    version: ModelVersion,
    tmp_path: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["verify", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def verified_without(*packages: str, words: list[str]) -> "subprocess.CompletedProcess[str]":
    code = f"{without(*packages)}\nimport sys, cli\nsys.exit(cli.main())"
    root = Path(cli.__file__).parent
    return subprocess.run([sys.executable, "-c", code, *words], cwd=root, capture_output=True, text=True, timeout=60)


def test_where_only_a_server_is_installed_the_other_formats_are_not_checked_and_said_to_be(tmp_path: Path) -> None:
    path = str(toys.publish(tmp_path, formats=("onnx", "torchscript")).path)
    absent = ("torch", "onnx", "onnxscript", "rich", "lightning", "safetensors")
    done = verified_without(*absent, words=["verify", path])
    assert (done.returncode, done.stderr) == (0, "")
    assert "not checked here: torchscript: needs the package 'torch'" in done.stdout
    assert done.stdout.splitlines()[-1] == "toy/1: 1 of 2 artifacts are right; not checked here: torchscript"
    assert verified_without(*absent, words=["verify", path, "--all"]).returncode == 2


def test_where_no_artifact_can_be_opened_it_is_2(tmp_path: Path) -> None:
    path = str(toys.publish(tmp_path, formats=("torchscript",)).path)
    done = verified_without("torch", words=["verify", path])
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "toy/1: 0 of 1 artifacts are right; not checked here: torchscript"


def test_a_fault_outweighs_what_was_not_checked() -> None:
    def check(passed: bool | None, format: str = "onnx") -> Check:
        return Check(format, "y", None, None, "", passed)

    assert exit_code([check(True), check(None, "torchscript")], every=False) == 0
    assert exit_code([check(True), check(None, "torchscript")], every=True) == 2
    assert exit_code([check(False), check(None, "torchscript")], every=True) == 1
    assert exit_code([check(None), check(False, "")], every=False) == 1
    assert exit_code([check(None), check(True, "")], every=False) == 2


def test_nothing_is_written(version: ModelVersion) -> None:
    before = {path: path.stat().st_mtime_ns for path in version.path.parent.rglob("*")}
    assert cli.main(["verify", str(version.path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in version.path.parent.rglob("*")} == before
    assert Repository(version.path.parents[1]).open("toy", 1).digest == version.digest
