"""Reports of loads that nobody has sent: as a page, as JUnit, and two of them compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from loadtests import chart, junit, output, report, report_html, terminal
from loadtests.compare import _line, compare, variants
from loadtests.figures import empty
from loadtests.records import Kind
from loadtests.server import CannotRun
from loadtests.shapes import make
from loadtests.slo import parse
from models.tensors import Array
from tests.loadtests.synthetic import load, records

Json = dict[str, Any]  # Any: JSON


def made(found: Array, *, milliseconds: float = 4.0, slo: str = "", **more: object) -> Json:
    """Return a report of one load."""
    run = report.run_json(load(found), "load", parse(slo) if slo else ())
    speed = {"at": 1.0, "milliseconds": milliseconds, "best": milliseconds, "worst": milliseconds}
    known = {"version": "1", "digest": "abc", "expected": "golden", "samples": 8, "distinct": 8, "random": []}
    return report.assemble(
        "load",
        options={"model": "toy", "report": "x"},
        target={"url": "http://x", "identity": {}, "same_machine": True, "image": None, "models": {"toy": known}},
        environment={
            "machine": "m",
            "system": "s",
            "python": "3",
            "libraries": {"locust": "2"},
            "load_average": [1.0],
            "calibration": [speed] * 3,
            "drift": 0.0,
        },
        runs=[run],
        **more,
    )


def noisy(middle: float, seed: int = 0) -> Array:
    return records(np.random.default_rng(seed).gamma(20, middle / 20, 2000))


def verdicts(lines: list[Json]) -> dict[str, str]:
    return {line["name"]: line["verdict"] for line in lines if "name" in line}


def test_the_page_holds_everything_and_escapes_it() -> None:
    bad = records([0.01] * 3, kind=Kind.WRONG)
    told = made(np.concatenate([noisy(0.01), bad]), slo="p99<1ms")
    told["runs"][0]["failures"][0]["examples"] = ["<script>alert(1)</script>"]
    page = report_html.to_bytes(told).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "wrong answer" in page
    assert "p99&lt;1ms: missed" in page
    assert page.count("<svg") >= 5
    assert "not good" in page


def test_a_page_of_nothing_is_a_page() -> None:
    assert b"Load test of toy" in report_html.to_bytes(made(empty()))
    assert list(terminal.lines(made(empty())))[-1] == "  no request of the measured time"


def test_junit_has_a_case_for_each_objective() -> None:
    suites = Xml.fromstring(junit.to_bytes(made(noisy(0.01), slo="p99<1ms,errors<1%")))
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("3", "1", "0")
    lost = made(np.concatenate([noisy(0.01), records([0.1], kind=Kind.LOST)]))
    assert Xml.fromstring(junit.to_bytes(lost)).get("failures") == "1"
    assert Xml.fromstring(junit.could_not_run("no \x00 server")).get("errors") == "1"


def test_the_same_load_twice_is_within_noise_and_half_the_latency_is_better() -> None:
    before = made(noisy(0.010))
    assert set(verdicts(compare(before, made(noisy(0.010, seed=1)))).values()) == {"within noise"}
    faster = verdicts(compare(before, made(noisy(0.005, seed=1))))
    assert faster["p50_ms"] == faster["p99_ms"] == "better"
    assert faster["goodput"] == "within noise"
    assert verdicts(compare(made(noisy(0.005)), before))["p50_ms"] == "worse"


def test_a_change_that_the_machine_explains_is_none() -> None:
    before, slower = made(noisy(0.010)), made(noisy(0.012, seed=1))
    assert verdicts(compare(before, slower))["p50_ms"] == "worse"
    assert verdicts(compare(before, made(noisy(0.012, seed=1), milliseconds=5.0)))["p50_ms"] == "within noise"


def test_what_is_not_the_same_around_the_figures_is_told() -> None:
    old, new = made(noisy(0.01)), made(noisy(0.01))
    new["environment"]["machine"] = "another"
    new["options"]["users"] = 3
    told = "\n".join(line["told"] for line in compare(old, new))
    assert "machine: was m, is another" in told
    assert "not asked the same: users" in told


def test_capacities_are_compared_by_their_intervals() -> None:
    sides = [{"valid": True, "rate": rate, "low": rate * 0.95, "high": rate * 1.05} for rate in (100.0, 104.0, 150.0)]
    one, two, three = (made(noisy(0.01), capacity={**side, "trials": [], "told": "", "slo": ""}) for side in sides)
    assert verdicts(compare(one, two))["capacity per second"] == "within noise"
    assert verdicts(compare(one, three))["capacity per second"] == "better"


def test_variants_are_compared_within_rounds() -> None:
    runs = []
    for turn, drift in enumerate((1.0, 3.0, 2.0)):  # the machine is three times as slow in the second round
        for label, factor in (("a", 1.0), ("b", 0.5)):
            run = report.run_json(load(noisy(0.01 * drift * factor, seed=turn)), label, (), turn=turn)
            runs.append(run)
    found = {line["figure"]: line for line in variants(runs)}
    assert found["p50_ms"]["ratio"] == pytest.approx(0.5, rel=0.02)
    assert "b ÷ a, p50_ms: × 0.5" in found["p50_ms"]["told"]
    assert variants(runs[:1]) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99, "runs": [], "environment": {}}'])
def test_what_is_no_report_cannot_be_compared_with(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(CannotRun, match="compare: "):
        output.read(tmp_path)


def test_reports_are_written_and_read(tmp_path: Path) -> None:
    told = made(noisy(0.01))
    names = {path.name for path in output.write(told, str(tmp_path / "new"))}
    assert names == {"report.json", "report.html", "junit.xml"}
    assert output.read(tmp_path / "new") == json.loads(json.dumps(told))
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotRun, match="report: expected a folder"):
        output.write(told, str(tmp_path / "file"))


def test_charts_of_nothing_are_nothing_and_of_one_point_a_dot() -> None:
    assert chart.lines("t", "x", "y", [("a", [])]) == chart.bars("t", "x", "y", []) == ""
    assert "<circle" in chart.lines("t", "x", "y", [("a", [(1.0, 2.0)])])
    assert "&lt;b&gt;" in chart.lines("<b>", "x", "y", [("a", [(1.0, 2.0), (2.0, float("nan"))])])
    assert chart.bars("t", "x", "y", [("1", 0.0), ("2", 3.0)]).count("<rect") == 2


@pytest.mark.parametrize(
    ("name", "before", "now", "more", "verdict"),
    [
        ("errors", 0.0, 0.2, False, "worse"),
        ("errors", 0.2, 0.0, False, "better"),
        ("goodput", 7000.0, 0.0, True, "worse"),
        ("errors", 0.0, 0.001, False, "within noise"),
    ],
)
def test_a_figure_that_was_nothing_or_has_become_so_is_compared_too(
    name: str, before: float, now: float, more: bool, verdict: str
) -> None:
    line = _line(name, (before, 0.002), (now, 0.002), more=more, drift=0.5)
    assert line is not None
    assert line["verdict"] == verdict
    assert _line(name, (0.0, 0.0), (0.0, 0.0), more=more, drift=0.5) is None


def stepped(*, open_load: bool) -> Json:
    """Return the report of four steps of 5 s, each slower than the one before."""
    profile = make("steps", 80.0, 20.0, steps=4)
    found = records(np.repeat([0.01, 0.02, 0.03, 0.04], 100), over=20.0)
    one = load(found, over=20.0)
    one.plan = replace(one.plan, profile=profile, open_load=open_load)
    told = made(found)
    told["runs"] = [report.run_json(one, "load", ())]
    return told


@pytest.mark.parametrize(("open_load", "each"), [(True, "each load"), (False, "each number of users")])
def test_the_steps_of_a_load_are_levels_of_a_chart(open_load: bool, each: str) -> None:
    levels = report_html._levels(stepped(open_load=open_load))
    assert [(of, level) for of, (level, _, _) in levels] == [(open_load, level) for level in (20, 40, 60, 80)]
    assert [latency for _, (_, _, latency) in levels] == [(ms, ms) for ms in (10.0, 20.0, 30.0, 40.0)]
    page = report_html.to_bytes(stepped(open_load=open_load)).decode()
    assert f"latency at {each}" in page
    assert f"goodput at {each}" in page


def test_loads_of_one_level_have_no_chart_of_levels() -> None:
    assert "latency at each" not in report_html.to_bytes(made(noisy(0.01))).decode()


def test_whatever_is_in_a_report_is_escaped_in_each_of_its_forms() -> None:
    odd = "<script>alert(1)</script>\x1b[2J\x00 ]]> & \u202e"
    told = made(np.concatenate([noisy(0.01), records([0.1], kind=Kind.LOST)]), slo="p99<1ms")
    told["target"] |= {"models": {odd: told["target"]["models"]["toy"] | {"version": odd}}, "identity": {"name": odd}}
    told["options"]["model"] = odd
    (run,) = told["runs"]
    run |= {"label": odd, "stopped": odd, "remarks": [odd], "server": {"missing": odd}}
    run["failures"][0]["examples"] = [odd]
    assert "<script" not in report_html.to_bytes(told).decode()
    suites = Xml.fromstring(junit.to_bytes(told))  # no parser takes control characters
    assert "<script>" in str(suites.get("name"))
    assert json.loads(json.dumps(told))


def test_an_earlier_report_is_put_aside_and_taken_away_by_the_next(tmp_path: Path) -> None:
    told = made(noisy(0.01))
    output.write(told, str(tmp_path))
    (tmp_path / "config.toml").write_text("instances = 2\n")  # somebody's own
    output.prepare(str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"earlier-report.json", "earlier-report.html", "junit.xml", "config.toml"}
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("errors") == "1"
    output.write(told, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html", "junit.xml", "config.toml"}


def test_an_old_report_of_another_making_is_told_and_no_error() -> None:
    told = made(noisy(0.01))
    output.add_comparison(told, {"schema": 1, "runs": [{}], "environment": {}})
    assert told["comparison"][0]["told"].startswith("not compared: ")
