"""Descriptors run out: refused before a load where that can be known; else no fault of the server's, and no figures lost."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loadtests.faulty import Faulty, faulty
from tests.loadtests.hostile import Talk, hostile, told
from tests.loadtests.running import report, running
from tests.loadtests.test_interrupts import UNDER_WAY

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))\n"


@pytest.fixture(scope="module")
def right() -> Iterator[Faulty]:
    with faulty("right", service_seconds=0.001) as server:
        yield server


def test_more_users_than_descriptors_are_refused_before_the_load(right: Faulty) -> None:
    with running(right.url, "--model", "double", "--users", "200", before=LIMIT.format(100, 200)) as one:
        assert one.ends() == 2
    assert "users: expected up to 136 for each process, by the limit of descriptors (`ulimit -n`)" in one.err.decode()


def test_a_rate_without_descriptors_is_refused_before_the_load(right: Faulty) -> None:
    with running(right.url, "--model", "double", "--rate", "1000", before=LIMIT.format(90, 90)) as one:
        assert one.ends() == 2
    said = one.err.decode()
    assert "rate: expected at least 50 connections for 1,000 arrivals/s of each process, found up to 26" in said
    assert "`ulimit -n`" in said


def test_the_soft_limit_is_raised(right: Faulty, tmp_path: Path) -> None:
    words = ["--model", "double", "--users", "80", "--duration", "1.5", "--warm-up", "0", "--report", str(tmp_path)]
    with running(right.url, *words, before=LIMIT.format(70, 400)) as one:
        assert one.ends() == 0
    assert report(tmp_path)["runs"][0]["totals"]["right"] > 0


@pytest.mark.parametrize("load", [["--users", "2"], pytest.param(["--rate", "50"], marks=pytest.mark.long)])
def test_where_they_run_out_the_load_ends_and_the_server_is_not_blamed(load: list[str], tmp_path: Path) -> None:
    def once(talk: Talk) -> None:
        """Answer rightly, and close: the next request needs a descriptor."""
        told(talk.right, "Connection: close")(talk)
        talk.close = True

    words = ["--model", "double", *load, "--duration", "60", "--warm-up", "0", "--report", str(tmp_path)]
    with hostile(infer=once) as server, running(server.url, *words) as one:
        one.says(UNDER_WAY)
        (generator,) = one.generators()
        generator.rlimit(resource.RLIMIT_NOFILE, (3, 3))
        assert one.ends() == 3
    (run,) = report(tmp_path)["runs"]
    assert run["totals"]["right"] > 0
    assert {failure["kind"] for failure in run["failures"]} <= {"never_sent"}
    assert run["stopped"].startswith("the generator's machine ran out: Too many open files (`ulimit -n` more")
    assert run["seconds"] < 50
