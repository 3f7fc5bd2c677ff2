"""`sameway profile` and `sameway export --profile`: the table, what is recorded, and one line for whatever goes wrong."""

from pathlib import Path

import pytest

import cli
from export import profile_command
from models import machine, profiles
from models.profiles import FILENAME
from serving import model_config
from tests import toys
from tests.export import checkpoints
from tests.test_cli import sameway, without


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure on one thread alone: each more costs processes, and shows nothing else."""
    for module in (machine, profile_command):
        monkeypatch.setattr(module, "usable_cores", lambda: 1)


def test_a_version_is_measured_recorded_and_a_configuration_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = toys.publish(tmp_path)
    assert cli.main(["profile", str(tmp_path / "toy"), "--seconds", "0.1", "--write-config"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"toy/1 sha256:{version.digest} on {machine.here()}; onnxruntime ")
    heads = "format threads p50 ms p99 ms rows/s at batch peak MB session MB size MB"
    assert " ".join(lines[1].split()) == heads
    assert lines[2].split()[:2] == ["onnx", "1"]
    assert "measuring onnx on 1 thread\n" in err
    (recorded,) = profiles.read(tmp_path / "toy")
    assert (recorded.version, recorded.digest) == (1, version.digest)
    assert model_config.read(tmp_path / "toy" / "config.toml").format == "onnx"
    written = (tmp_path / "toy" / "config.toml").read_text()
    assert written in out
    assert cli.main(["profile", str(tmp_path / "toy"), "--seconds", "0.1", "--write-config"]) == 2
    expected = "sameway profile: --write-config: expected no configuration of toy, found config.toml\n"
    assert capsys.readouterr().err == expected
    assert (tmp_path / "toy" / "config.toml").read_text() == written


def test_it_needs_no_more_than_a_server_has(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    program = without("torch", "onnx", "onnxscript", "rich", "lightning", "safetensors")
    done = sameway("profile", str(tmp_path / "toy"), "--seconds", "0.1", program=program)
    assert done.returncode == 0, done.stderr
    assert len(profiles.read(tmp_path / "toy")) == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "1e9"])
def test_a_time_in_which_nothing_can_be_measured_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["profile", "models/toy", "--seconds", seconds])
    assert ended.value.code == 2
    assert f"expected 0.1 to 600 seconds, found '{seconds}'" in capsys.readouterr().err


def test_what_is_not_there_is_2_and_what_was_altered_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", str(tmp_path / "absent")]) == 2
    version = toys.publish(tmp_path)
    (version.path / "model.onnx").write_bytes(b"altered")
    assert cli.main(["profile", str(tmp_path / "toy")]) == 1
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == ["sameway profile"] * 2


def test_a_file_of_somebody_elses_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / FILENAME).write_text("{}")
    assert cli.main(["profile", str(tmp_path / "toy"), "--seconds", "0.1"]) == 2
    assert f"sameway profile: {FILENAME}: schema: expected an integer, found None\n" in capsys.readouterr().err
    assert (tmp_path / "toy" / FILENAME).read_text() == "{}"


def test_without_a_proposal_the_figures_are_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.publish(tmp_path)
    monkeypatch.setattr(profile_command, "free_memory", lambda: 0)
    assert cli.main(["profile", str(tmp_path / "toy"), "--seconds", "0.1"]) == 0
    assert "no configuration is proposed: none of the formats" in capsys.readouterr().out
    assert len(profiles.read(tmp_path / "toy")) == 1
    assert cli.main(["profile", str(tmp_path / "toy"), "--seconds", "0.1", "--write-config"]) == 2
    assert "sameway profile: --write-config: there is nothing to write\n" in capsys.readouterr().err
    assert not (tmp_path / "toy" / "config.toml").exists()


def test_an_export_can_be_measured_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoints.save(tmp_path / "one").path
    words = [
        str(path),
        "--repository",
        str(tmp_path / "models"),
        "--formats",
        "onnx",
        "--profile",
        "--profile-seconds",
        "0.1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.spec.find", lambda name: checkpoints.spec())
        assert cli.main(["export", *words]) == 0
        out = capsys.readouterr().out
        assert "published toy/1 sha256:" in out
        assert " p50 ms " in out
        assert 'format = "onnx"' in out
        assert len(profiles.read(tmp_path / "models" / "toy")) == 1
        assert cli.main(["export", *words, "--dry-run"]) == 2
    assert "--profile: expected a version to be published, found --dry-run" in capsys.readouterr().err
