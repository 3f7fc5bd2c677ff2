"""What a run has found, for people: tables, a picture, and the part of a page between its markers."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from loadtests.benchmark import page, plot, tables
from loadtests.benchmark.field import MEASURE
from loadtests.benchmark.figures import RAW_FAMILY, RAW_TWO, Figures, Findings, Footprint, summarize
from loadtests.benchmark.goals import GOALS, ONE, OURS
from loadtests.benchmark.raw import Raw
from loadtests.benchmark.side import BY_HAND, FRAMEWORK, SAMEWAY, Absent, CannotRun
from loadtests.benchmark.surroundings import surroundings
from loadtests.benchmark.work import BINARY, JSON, SMALL, Work

ONE_IMAGE, MANY = Work(SMALL, 1, JSON, 64), Work(SMALL, 32, BINARY, 4)

FINDINGS = Findings(
    surroundings("wrk 4.1.0"),
    (
        Figures(OURS, SAMEWAY, ONE_IMAGE, 0, 9000.0, 1.5, 3.25, 120.0),
        Figures(MEASURE, BY_HAND, ONE_IMAGE, 0, 4500.0, 3.0, 6.0, 240.0),
        Figures("<theirs>", FRAMEWORK, ONE_IMAGE, 0, 900.0, 9.0, 20.0, 2000.0),
        Figures(RAW_TWO, RAW_FAMILY, MANY, 0, 1000.0, None, None, 640.0),
        Figures(OURS, SAMEWAY, MANY, 0, 950.0, 2.0, 4.0, 960.0),
    ),
    (Footprint(ONE, SAMEWAY, SMALL, 131.4, 0.0031),),
    tuple(Raw(SMALL, processes, batch, 1000.0 * processes, 20.0) for processes in (1, 2) for batch in (1, 8, 32, 64)),
    (Absent("MLServer", None, "No matching distribution\na log"), Absent("mosec", str(MANY), "errors")),
)
ROWS = summarize(FINDINGS.rounds, MEASURE)


def test_a_group_of_work_has_a_line_for_each_side() -> None:
    lines = tables.of_work(ROWS, ONE_IMAGE.group, MEASURE).splitlines()
    assert lines[0] == "| server | 64 connections |"
    assert lines[2] == f"| {OURS} | 9,000 · 1.50/3.25 · 120 · 2.00× |"
    assert lines[3] == f"| {MEASURE} | 4,500 · 3.00/6.00 · 240 |"
    assert len(lines) == 5


def test_of_many_images_rows_are_told_and_sessions_have_no_latency() -> None:
    lines = tables.of_work(ROWS, MANY.group, MEASURE).splitlines()
    assert lines[2:] == [f"| {RAW_TWO} | 32,000 · 20 |", f"| {OURS} | 30,400 · 2.00/4.00 · 30 |"]


def test_every_goal_has_a_line_with_a_verdict() -> None:
    lines = tables.of_goals(FINDINGS).splitlines()[2:]
    assert len(lines) == len(GOALS)
    met, missed, unknown = (
        sum(line.endswith(f"| {said} |") for line in lines) for said in ("met", "**missed**", "not measured")
    )
    counted = f"{met} of {len(GOALS)} are met, {missed} missed, {unknown} not measured."
    assert tables.count_of_goals(FINDINGS).startswith(counted)
    (json_64,) = [line for line in lines if "JSON, 64" in line and "≥ 2.30 ×" in line]
    assert "| <theirs> (best framework) | ≥ 2.30 × | 10.00 × | met |" in json_64
    (raw,) = [line for line in lines if RAW_TWO in line and "32 images" in line]
    assert "≥ 0.90 × | 0.95 × | met" in raw
    assert any("≤ 140 MB | 131 MB | met" in line for line in lines)
    assert any("≤ 0.50% | 0.31% | met" in line for line in lines)
    assert any("not measured" in line for line in lines)


def test_the_picture_is_a_document_with_a_bar_for_every_side() -> None:
    root = ElementTree.fromstring(plot.draw(ROWS, [ONE_IMAGE, Work(SMALL, 1, JSON, 1)]))
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("fill") != "#ffffff"]
    assert len(bars) == 3
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths == sorted(widths, reverse=True)
    assert "".join(root.itertext()).count("<theirs>") == 1


def test_it_is_written_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    file, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    file.write_text(f"# Before\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter\n")
    for _ in range(2):
        page.write(FINDINGS, file, picture)
        written = file.read_text()
        assert written.startswith(f"# Before\n\n{page.BEGIN}\n\n![")
        assert written.endswith(f"\n\n{page.END}\n\nAfter\n")
        assert "old" not in written
        assert "(picture.svg)" in written
        assert picture.read_text().startswith("<svg")
    assert str(FINDINGS.environment["processor"]) in written
    assert "- MLServer: No matching distribution\n- mosec (32 images, binary, 4 connections): errors" in written


@pytest.mark.parametrize("text", ["", f"{page.BEGIN}", f"{page.END} {page.BEGIN}", f"{page.BEGIN} {page.BEGIN} {page.END}"])
def test_a_page_without_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "page.md"
    file.write_text(text)
    with pytest.raises(CannotRun, match=r"page\.md: expected the lines"):
        page.write(FINDINGS, file, tmp_path / "picture.svg")
    assert file.read_text() == text


def test_the_real_page_has_its_markers() -> None:
    text = page.PAGE.read_text()
    assert text.count(page.BEGIN) == text.count(page.END) == 1
