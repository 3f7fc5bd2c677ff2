"""Ctrl-C, SIGTERM and SIGHUP at every moment, on a real process: what has been measured is told, by every report."""

import array
import fcntl
import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from tests import toys
from tests.loadtests.faulty import Faulty, faulty
from tests.loadtests.hostile import TRANSPORT, hostile
from tests.loadtests.running import Running, gone, report, running

long = pytest.mark.long
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

#: Progress of a load, as the generator tells it.
UNDER_WAY = r"[1-9]\d* requests"


@pytest.fixture(scope="module")
def right() -> Iterator[Faulty]:
    with faulty("right", service_seconds=0.001) as server:
        yield server


def interrupted(one: Running, folder: Path, sent: signal.Signals = INT) -> dict[str, Any]:  # Any: JSON
    """Send a signal; return the report once all of them are found to tell of it."""
    one.send(sent)
    assert one.ends() == 130
    told = report(folder)
    name = "Ctrl-C" if sent == INT else sent.name
    assert told["exit_code"] == 130
    assert told["interrupted"].startswith(f"interrupted by {name} at 20")
    assert told["interrupted"] in one.out.decode()
    assert told["interrupted"] in (folder / "report.html").read_text()
    errors = [str(error.get("message")) for error in Xml.parse(folder / "junit.xml").iter("error")]
    assert told["interrupted"] in errors
    return told


@pytest.mark.parametrize("sent", [INT, pytest.param(TERM, marks=long), pytest.param(HUP, marks=long)])
def test_while_there_is_load(right: Faulty, tmp_path: Path, sent: signal.Signals) -> None:
    words = [right.url, "--model", "double", "--users", "2", "--duration", "60", "--warm-up", "0"]
    with running(*words, "--report", str(tmp_path)) as one:
        one.says(UNDER_WAY)
        generators = one.generators()
        told = interrupted(one, tmp_path, sent)
        assert generators
        assert gone(generators, within=10)
    (run,) = told["runs"]
    assert run["totals"]["right"] > 0
    assert run["stopped"] == told["interrupted"]


@long
def test_while_the_server_is_asked_before_the_load(tmp_path: Path) -> None:
    with (
        hostile(well_behaved=3, infer=TRANSPORT["dripping"]) as server,
        running(server.url, "--model", "double", "--report", str(tmp_path)) as one,
    ):
        one.until(lambda: server.asked["infer"] > 0, "asked")
        assert interrupted(one, tmp_path)["runs"] == []


@long
def test_in_the_warm_up(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--users", "2", "--warm-up", "60", "--report", str(tmp_path)]
    with running(right.url, *words) as one:
        one.says(UNDER_WAY)
        (run,) = interrupted(one, tmp_path)["runs"]
    assert run["totals"]["requests"] == 0
    assert "requests of the warm-up, which no figure counts, are all that there were" in run["remarks"][0]


@long
def test_before_the_generator_has_begun(right: Faulty, tmp_path: Path) -> None:
    with running(right.url, "--model", "double", "--report", str(tmp_path)) as one:
        one.until(one.generators, "started")
        (run,) = interrupted(one, tmp_path)["runs"]
    assert run["seconds"] < 1


@long
def test_in_the_probe_of_a_multiple(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--rate", "3x", "--warm-up", "0", "--report", str(tmp_path)]
    with running(right.url, *words) as one:
        one.says(UNDER_WAY)
        (run,) = interrupted(one, tmp_path)["runs"]
    assert run["label"].endswith("the probe of what 3x is")
    assert run["totals"]["right"] > 0


@long
def test_between_variants(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--scenario", "frontends", "--against", right.url.replace("127.0.0.1", "localhost")]
    words += ["--users", "2", "--duration", "1", "--warm-up", "0", "--rounds", "3", "--report", str(tmp_path)]
    with running(right.url, *words) as one:
        one.says(r"2 users for 1 s[\s\S]*2 users for 1 s")
        first, *rest = interrupted(one, tmp_path)["runs"]
    assert first["stopped"] is None
    assert first["totals"]["right"] > 0
    assert len(rest) <= 1


@long
def test_in_a_search(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--find-capacity", "--slo", "p99<2s", "--rate", "50", "--trial", "1", "--warm-up", "0"]
    with running(right.url, *words, "--report", str(tmp_path)) as one:
        one.says("trial 1:")
        told = interrupted(one, tmp_path)
    assert len(told["capacity"]["trials"]) >= 1
    assert not told["capacity"]["valid"]


@long
def test_in_the_first_trial_of_a_search(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--find-capacity", "--slo", "p99<2s", "--rate", "50", "--trial", "60", "--warm-up", "0"]
    with running(right.url, *words, "--report", str(tmp_path)) as one:
        asked = right.asked
        one.until(lambda: right.asked > asked + 100, "asked")
        told = interrupted(one, tmp_path)
    assert told["runs"][0]["label"] == "the trial that was interrupted"
    assert told["runs"][0]["totals"]["right"] > 0


@long
def test_in_tuning(tmp_path: Path) -> None:
    toys.publish(tmp_path / "repository")
    words = ["--tune", "--model", "toy", "--repository", str(tmp_path / "repository"), "--slo", "p99<2s", "--rate", "20"]
    with running(*words, "--trial", "1", "--warm-up", "0", "--report", str(tmp_path / "report")) as one:
        one.says("trial 1:")
        family = one.family()
        told = interrupted(one, tmp_path / "report")
        assert gone(family, within=20)  # the server, too
    assert "interrupted, so not everything was tried" in told["tuning"]["told"][-1]


def test_while_the_report_is_written(right: Faulty, tmp_path: Path) -> None:
    half = tmp_path / ".report.json.half"
    os.mkfifo(half)
    reader = os.open(half, os.O_RDONLY | os.O_NONBLOCK)
    # More than a pipe holds: the command waits within its writing.
    (tmp_path / "long.toml").write_text(f'description = "{"x" * 300_000}"')
    words = ["--model", "double", "--users", "2", "--duration", "0.5", "--warm-up", "0", "--report", str(tmp_path)]
    with running(right.url, *words, "--scenario", str(tmp_path / "long.toml")) as one:
        waiting = array.array("i", [0])
        one.until(lambda: fcntl.ioctl(reader, termios.FIONREAD, waiting) or waiting[0], "writing")
        one.send(INT)
        os.set_blocking(reader, True)
        while os.read(reader, 65536):
            pass
        os.close(reader)
        assert one.ends() == 130
    told = report(tmp_path)
    assert told["interrupted"].startswith("interrupted by Ctrl-C")
    assert told["runs"][0]["totals"]["right"] > 0
    assert told["runs"][0]["stopped"] is None


def test_a_second_one_ends_at_once(tmp_path: Path) -> None:
    with (
        hostile(well_behaved=65, infer=TRANSPORT["dripping"]) as server,
        running(server.url, "--model", "double", "--timeout", "60", "--report", str(tmp_path)) as one,
    ):
        one.until(lambda: server.asked["infer"] > 0, "asked")
        generators = one.generators()
        one.send(INT)
        one.says("once more ends at once")
        one.send(INT)
        assert one.ends(within=5) == 130
        assert gone(generators, within=10)
    assert "has not come to its end" in (tmp_path / "junit.xml").read_text()


def test_a_closed_pipe_is_no_error(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--users", "2", "--duration", "0.5", "--warm-up", "0", "--report", str(tmp_path)]
    before = "import os; os.close(1); os.dup2(os.pipe()[1], 1); os.closerange(3, 10)\n"
    with running(right.url, *words, before=before) as one:
        assert one.ends() == 0
    assert report(tmp_path)["exit_code"] == 0
