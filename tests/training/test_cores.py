import os
from pathlib import Path

import pytest

from training.cores import most_threads, sensible_threads


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("max 100000", 7), ("400000 100000", 3), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", 7), ("odd", 7)],
)
def test_one_core_stays_free_of_those_there_are(tmp_path: Path, quota: str, threads: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert sensible_threads(tmp_path / "cpu.max") == threads


def test_without_a_container_the_machine_decides(tmp_path: Path) -> None:
    assert sensible_threads(tmp_path / "absent") == 7


def test_four_threads_a_core_are_the_most() -> None:
    assert most_threads() == 32


def test_a_single_core_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    assert sensible_threads(tmp_path / "absent") == 1
