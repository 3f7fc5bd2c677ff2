from pathlib import Path

import pytest

from loadtests.benchmark import model, raw
from loadtests.benchmark.side import CannotRun
from loadtests.benchmark.work import SMALL


def test_sessions_alone_are_measured_one_by_one_and_together(tmp_path: Path) -> None:
    file = model.publish(tmp_path, SMALL).file
    with raw.opened(SMALL, file) as alone:
        for processes in raw.PROCESSES:
            found = alone.measure(processes, 8, seconds=0.05)
            assert (found.model, found.processes, found.batch) == (SMALL, processes, 8)
            assert found.rows_per_second > 0
            assert found.cpu_us_per_row > 0


def test_a_file_that_is_no_model_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CannotRun, match=r"the process did not open .*none\.onnx"), raw.opened(SMALL, tmp_path / "none.onnx"):
        pass
