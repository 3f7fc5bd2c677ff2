from pathlib import Path

import pytest

from loadtests.benchmark.peers import environments
from loadtests.benchmark.side import ROOT


def test_an_environment_is_made_once_and_anew_for_other_requirements(tmp_path: Path) -> None:
    requirements = tmp_path / "peer.txt"
    requirements.write_text("# nothing\n")
    assert environments.make(requirements, tmp_path) is None
    python = tmp_path / "peer" / "bin" / "python"
    made = python.lstat().st_mtime_ns
    assert environments.make(requirements, tmp_path) is None
    assert python.lstat().st_mtime_ns == made
    requirements.write_text("# still nothing\n")
    assert environments.make(requirements, tmp_path) is None
    assert python.lstat().st_mtime_ns != made


def test_what_cannot_be_had_is_said_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    requirements = tmp_path / "peer.txt"
    requirements.write_text(f"{tmp_path}/absent-1.0-py3-none-any.whl\n")
    reason = environments.make(requirements, tmp_path)
    assert reason is not None
    assert "absent" in reason
    assert (tmp_path / "peer.failed").read_text().strip() == reason
    assert not (tmp_path / "peer").exists()
    requirements.write_text("# nothing\n")
    assert environments.make(requirements, tmp_path) is None
    assert not (tmp_path / "peer.failed").exists()


@pytest.mark.parametrize("file", sorted(environments.REQUIREMENTS.glob("*.txt")), ids=lambda file: file.stem)
def test_requirements_are_pinned_and_run_the_model_with_the_same_runtime(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    for name in ("onnxruntime", "numpy", "orjson"):
        assert [line for line in lines if line.startswith(f"{name}==")] == [
            line for line in constraints if line.startswith(f"{name}==")
        ]
