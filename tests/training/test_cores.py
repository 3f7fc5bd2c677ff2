import os

import pytest

from training import cores
from training.cores import most_threads, sensible_threads


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


def test_one_core_stays_free_of_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    assert sensible_threads() == 3


def test_four_threads_a_core_are_the_most() -> None:
    assert most_threads() == 32


def test_a_single_core_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 1)
    assert sensible_threads() == 1
