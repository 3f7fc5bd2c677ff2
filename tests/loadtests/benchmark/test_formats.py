import shutil
from pathlib import Path

import pytest

from loadtests.benchmark import formats, model
from loadtests.benchmark.session import MODEL
from loadtests.benchmark.side import CannotRun
from loadtests.benchmark.work import SMALL


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return model.publish(tmp_path, SMALL).repository / MODEL / "1"


def test_a_ratio_is_taken_within_each_round() -> None:
    first, other = formats.Format("a", (100.0, 50.0, 10.0)), formats.Format("b", (150.0, 100.0, 15.0))
    assert other.beside(first) == 1.5
    assert "| b | 100 | 1.50 × |" in formats.table([first, other], formats.Plan())


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_version_is_served_and_measured(version: Path, tmp_path: Path) -> None:
    plan = formats.Plan(rounds=1, seconds=1, workers=1)
    told: list[str] = []
    (found,) = formats.measure(version, ["onnx"], plan=plan, folder=tmp_path / "work", tell=told.append)
    assert found.rows_per_second[0] > 0
    assert len(told) == 1


def test_a_format_that_a_version_does_not_have_is_named(version: Path, tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("needs wrk")
    with pytest.raises(CannotRun, match=r"expected a format that it has \(onnx\), found 'onnx_int8'"):
        formats.measure(version, ["onnx_int8"], plan=formats.Plan(), folder=tmp_path / "work", tell=print)
    with pytest.raises(CannotRun, match="expected a published version"):
        formats.measure(version.parent / "7", ["onnx"], plan=formats.Plan(), folder=tmp_path / "other", tell=print)
