"""Who is measured when, on servers that are real, and what happens to one that fails."""

import shutil
import sys
from pathlib import Path

import pytest

from loadtests.benchmark import bare_asgi, wrk
from loadtests.benchmark.side import BARE, BY_HAND, FRAMEWORK, Side
from loadtests.benchmark.turns import Plan, Turns, rotated
from loadtests.benchmark.work import BINARY, JSON, SMALL, Work

with_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

WORK = Work(SMALL, 1, BINARY, 2)


def turns(folder: Path) -> tuple[Turns, list[str]]:
    told: list[str] = []
    plan = Plan((WORK,), rounds=1, seconds=1, idle_seconds=0.1, raw_seconds=0.1)
    return Turns(plan, folder=folder, generator=wrk.find(), tell=told.append), told


def test_another_side_is_first_in_every_round() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 1) == []


@with_wrk
def test_sides_that_do_not_start_are_left_out_and_the_others_are_measured(tmp_path: Path) -> None:
    one, told = turns(tmp_path)
    bare = bare_asgi.side()
    words = (sys.executable, "-c", "raise SystemExit('no')")
    broken = [Side(f"broken {family}", family, words, bare.exchanges) for family in (FRAMEWORK, BY_HAND)]
    one.measure(SMALL, [*broken, bare])
    assert [figures.side for figures in one.measured.rounds] == [bare.name]
    absent = [(absent.side, absent.work, absent.reason) for absent in one.measured.absent]
    reason = "the server ended with code 1\nno"
    assert absent == [(side.name, None, reason) for side in broken]
    assert one.measured.failures == [f"broken by hand: {reason}"], "that a framework fails is its own affair"
    (footprint,) = one.measured.footprints.values()
    assert (footprint.side, footprint.family, footprint.model) == (bare.name, BARE, SMALL)
    before = len(told)
    one.measure("larger", [bare])  # no work with it: nothing is started
    assert len(told) == before


@with_wrk
def test_a_side_does_what_it_can_be_asked(tmp_path: Path) -> None:
    one, _ = turns(tmp_path)
    bare = bare_asgi.side()
    one.measure(SMALL, [Side("JSON only", FRAMEWORK, bare.command, {JSON: bare.exchanges[JSON]}, bare.environment)])
    assert (one.measured.rounds, one.measured.absent) == ([], [])
