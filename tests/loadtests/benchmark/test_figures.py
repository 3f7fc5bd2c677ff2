import json

from loadtests.benchmark.figures import Figures, Findings, Footprint, ratio, summarize
from loadtests.benchmark.raw import Raw
from loadtests.benchmark.side import Absent
from loadtests.benchmark.work import BINARY, JSON, SMALL, WORKS, Work

WORK = Work(SMALL, 1, JSON, 16)


def figures(side: str, number: int, *, rate: float, cpu: float, work: Work = WORK) -> Figures:
    return Figures(side, "family", work, number, rate, 1.0, 2.0, cpu)


FOUND = [
    figures("bare", 0, rate=100, cpu=10),
    figures("ours", 0, rate=200, cpu=5),
    # In this round the machine was slow, for both.
    figures("ours", 1, rate=50, cpu=20),
    figures("bare", 1, rate=20, cpu=50),
    figures("ours", 2, rate=300, cpu=4),
    figures("bare", 2, rate=100, cpu=10),
]


def test_figures_are_medians_and_ratios_are_taken_within_each_round() -> None:
    bare, ours = summarize(FOUND, "bare")
    assert (bare.side, bare.requests_per_second, bare.throughput_ratio, bare.cpu_ratio) == ("bare", 100, 1.0, 1.0)
    assert (ours.requests_per_second, ours.cpu_us) == (200, 5)
    assert (ours.throughput_ratio, ours.cpu_ratio) == (2.5, 0.4)


def test_works_are_apart_and_rows_are_images() -> None:
    many = Work(SMALL, 32, BINARY, 4)
    rows = summarize([*FOUND, figures("ours", 0, rate=14, cpu=7, work=many)], "bare")
    assert [(row.work, row.side) for row in rows] == [(WORK, "bare"), (WORK, "ours"), (many, "ours")]
    assert rows[-1].rows_per_second == 14 * 32
    assert rows[-1].throughput_ratio is None, "the measure has not done this work"


def test_a_round_that_only_one_side_has_is_not_compared() -> None:
    found = [*FOUND[:2], figures("ours", 1, rate=1, cpu=1)]
    assert ratio(found, WORK, "ours", "bare", of=lambda one: one.requests_per_second) == 2.0
    assert ratio(found, WORK, "ours", "nobody", of=lambda one: one.requests_per_second) is None


def test_a_session_alone_has_no_latencies() -> None:
    (row,) = summarize([Figures("raw", "raw", WORK, 0, 5.0, None, None, 3.0)], "bare")
    assert (row.p50_ms, row.p99_ms) == (None, None)


def test_everything_is_kept_as_json_and_read_again() -> None:
    findings = Findings(
        {"cores": 2},
        tuple(FOUND),
        (Footprint("ours", "family", SMALL, 120.5, 0.003),),
        (Raw(SMALL, 1, 8, 1000.0, 20.0),),
        (Absent("theirs", None, "cannot be had"),),
    )
    assert Findings.from_json(json.loads(json.dumps(findings.as_json()))) == findings


def test_works_have_names_of_their_own() -> None:
    assert len({str(work) for work in WORKS}) == len(WORKS)
    assert str(WORK) == "one image, JSON, 16 connections"
    assert str(Work(SMALL, 32, BINARY, 1)) == "32 images, binary, 1 connection"
