"""The generator never outlives the command, and the command neither hangs nor forgets where the generator dies."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests import process
from tests.loadtests.faulty import Faulty, faulty
from tests.loadtests.running import gone, report, running
from tests.loadtests.test_interrupts import UNDER_WAY
from tests.serving.live import ROOT


@pytest.fixture(scope="module")
def right() -> Iterator[Faulty]:
    with faulty("right", service_seconds=0.001) as server:
        yield server


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_command_that_is_killed_leaves_nothing_behind(right: Faulty, tmp_path: Path, processes: int) -> None:
    words = ["--model", "double", "--users", "2", "--duration", "60", "--processes", str(processes)]
    with running(right.url, *words, before=f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n") as one:
        one.says(UNDER_WAY)
        generators = one.generators()
        assert len(generators) == (1 if processes == 1 else processes + 1)
        assert list(tmp_path.glob(f"{process.FOLDER}*"))
        one.send(signal.SIGKILL)
        assert gone(generators, within=10)
        assert one.process.wait(10) == -signal.SIGKILL
    assert not list(tmp_path.glob(f"{process.FOLDER}*"))  # samples, plan and the key in it


def test_a_generator_that_is_killed_ends_the_load_and_what_it_measured_is_told(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--users", "2", "--duration", "60", "--warm-up", "0", "--report", str(tmp_path)]
    with running(right.url, *words) as one:
        one.says(UNDER_WAY)
        one.until(lambda: b"2 s" in one.err, "two seconds of it")  # it writes every second
        (generator,) = one.generators()
        generator.kill()
        assert one.ends() == 3
        assert "ended early: the generator was ended by signal 9" in one.out.decode()
    (run,) = report(tmp_path)["runs"]
    assert run["totals"]["right"] > 0
    assert run["seconds"] < 50
    assert "the generator was ended by signal 9" in (tmp_path / "junit.xml").read_text()


@pytest.mark.long
def test_one_of_several_generators_that_is_killed_is_told(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--users", "4", "--duration", "8", "--warm-up", "0", "--processes", "2"]
    with running(right.url, *words, "--report", str(tmp_path)) as one:
        one.says(UNDER_WAY)
        one.generators()[-1].kill()
        assert one.ends() == 3
    assert "of 2 processes did not come to an end of its own" in report(tmp_path)["runs"][0]["stopped"]


@pytest.mark.long
def test_a_generator_that_is_killed_before_it_has_begun_is_an_error(right: Faulty, tmp_path: Path) -> None:
    with running(right.url, "--model", "double", "--report", str(tmp_path)) as one:
        one.until(one.generators, "started")
        one.generators()[0].kill()
        assert one.ends() == 2
        assert "Locust ended with code -9 and without figures" in one.err.decode()


def test_a_tied_program_ends_with_its_standard_input() -> None:
    sleeper = [sys.executable, "-m", "loadtests.tied", "timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"]
    with subprocess.Popen(sleeper, cwd=ROOT, stdin=subprocess.PIPE) as one:
        assert one.stdin is not None
        one.stdin.close()
        assert one.wait(30) == -signal.SIGTERM
