"""What a pacer owes: every arrival of the plan is sent or noted as not sent, when it was due, and the end comes at once."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from loadtests.records import Kind
from loadtests.report import BAD, GOOD, INVALID, run_json
from loadtests.slo import parse
from tests.loadtests.faulty import faulty
from tests.loadtests.running import gone, report, running
from tests.loadtests.synthetic import load, records
from tests.serving.live import ROOT


def paced(what: str) -> dict[str, Any]:  # Any: JSON
    command = [sys.executable, "-m", "tests.loadtests.pacing", what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_plan_of_months_ends_at_once_when_it_is_halted() -> None:
    found = paced("for_ever")
    assert found["ended_after"] < 5
    assert len(found["sent"]) + len(found["missed"]) > 50


def test_pacers_of_one_process_interleave() -> None:
    found = paced("two")
    assert len(found["sent"]) == 50
    assert np.allclose(np.diff(found["sent"]), 0.01)


def test_every_arrival_is_sent_or_noted() -> None:
    found = paced("in_line")
    assert len(found["sent"]) == 4
    assert len(found["missed"]) == found["facts"]["never_sent"] == 96
    assert np.allclose(np.diff(sorted(found["sent"] + found["missed"])), 0.01)


@contextlib.contextmanager
def locust(url: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run Locust alone on this project's file, several processes of it, killed with the block."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--host", url, *words]
    with subprocess.Popen(
        [*command, "--model", "double", "--only-summary"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    ) as one:  # fmt: skip
        try:
            yield one
        finally:
            with contextlib.suppress(OSError):
                os.killpg(one.pid, signal.SIGKILL)


def test_the_time_holds_for_workers_of_locust_alone_and_they_end_with_it() -> None:
    with faulty("right") as server:
        words = ["--rate", "40", "--arrivals", "constant", "--users", "2", "--processes", "2", "--run-time", "2s"]
        with locust(server.url, *words) as one:
            said, _ = one.communicate(timeout=60)  # the pipe is closed when the last of them has ended
    assert one.returncode == 0, said
    found = re.search(r"Aggregated +(\d+) +(\d+)", said)
    assert found is not None, said
    assert found.groups() == ("80", "0"), said


@pytest.mark.long
def test_workers_of_locust_alone_end_with_a_master_that_is_killed() -> None:
    with faulty("right") as server, locust(server.url, "--rate", "40", "--users", "2", "--processes", "2") as one:
        deadline = time.monotonic() + 60
        while server.asked < server.well_behaved + 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = psutil.Process(one.pid).children(recursive=True)
        assert len(workers) == 2
        one.kill()
        assert gone(workers, within=20)


SHORT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))\n"


def test_arrivals_without_a_connection_are_in_every_figure_and_the_server_is_not_blamed(tmp_path: Path) -> None:
    with faulty("slow") as server:
        words = ["--model", "double", "--rate", "100", "--arrivals", "constant", "--duration", "2", "--warm-up", "0"]
        more = ["--slo", "errors<1%,p99<10s", "--report", str(tmp_path)]
        with running(server.url, *words, *more, before=SHORT.format(74)) as one:
            assert one.ends() == 3
    (run,) = report(tmp_path)["runs"]
    failed = {failure["kind"]: failure["count"] for failure in run["failures"]}
    assert run["totals"]["requests"] == 200
    assert failed["never_sent"] == run["generator"]["never_sent"] > 0
    assert run["totals"]["right"] + sum(failed.values()) == 200
    assert [one["kept"] for one in run["slo"]] == [False, False]
    assert "never sent" in (tmp_path / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("kind", "slo", "verdict"),
    [
        (Kind.RIGHT, "p99<1s", INVALID),
        (Kind.RIGHT, "errors<50%", INVALID),
        (Kind.WRONG, "errors<50%", INVALID),
        (Kind.WRONG, "p50<1s", BAD),
    ],
)
def test_a_load_of_which_a_part_was_never_sent_is_not_good(kind: Kind, slo: str, verdict: int) -> None:
    unsent = records([1.0] * 10, kind=Kind.NEVER_SENT)
    one = load(np.concatenate([records([0.01] * 80), records([0.01] * 10, kind=kind), unsent]))
    one.facts[0] |= {"never_sent": 10, "stood_in_line": 10}
    assert run_json(one, "load", parse(slo))["verdict"] == verdict


def test_a_latency_that_is_missed_while_arrivals_stood_in_line_says_nothing_of_the_server() -> None:
    one = load(records([0.5] * 100))
    assert run_json(one, "load", parse("p99<0.1s"))["verdict"] == BAD
    one.facts[0]["stood_in_line"] = 50
    assert run_json(one, "load", parse("p99<0.1s"))["verdict"] == INVALID
    assert run_json(one, "load", parse("p99<1s"))["verdict"] == GOOD
