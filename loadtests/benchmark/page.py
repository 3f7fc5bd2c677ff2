"""The part of docs/performance.md that a run writes: between two markers, every figure by the program, none by hand."""

from pathlib import Path

from loadtests.benchmark import plot, tables
from loadtests.benchmark.field import MEASURE
from loadtests.benchmark.figures import Findings, summarize
from loadtests.benchmark.side import ROOT, CannotRun
from loadtests.benchmark.surroundings import machine
from loadtests.benchmark.work import BINARY, JSON, SMALL, Work

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- benchmark: begin, written by `make bench-peers` -->", "<!-- benchmark: end -->"

#: What the picture shows: where the requests are, on so many connections that servers are busy.
_DRAWN = (Work(SMALL, 1, JSON, 64), Work(SMALL, 1, BINARY, 64), Work(SMALL, 1, BINARY, 1))


def text(findings: Findings) -> str:
    """Return everything a run has found, for people."""
    rows = summarize(findings.rounds, MEASURE)
    rounds = 1 + max((one.round for one in findings.rounds), default=-1)
    around = dict(findings.environment)
    frameworks = around.pop("frameworks", {})
    versions = {**around, **(frameworks if isinstance(frameworks, dict) else {})}
    named = [f"{name} {value}" for name, value in versions.items() if name not in _MACHINE]
    parts = [
        f"Measured on {around['date']}: {machine(around)}. Medians of {rounds} round{'s' if rounds > 1 else ''}.",
        "Versions: " + ", ".join(named) + ".",
        f"### Goals\n\n{tables.count_of_goals(findings)}",
        tables.of_goals(findings),
        "### By work\n\nA cell is images/s · p50/p99 of requests in ms · CPU in µs per image · images/s beside"
        f" {MEASURE}. Where a request has 32 images, requests/s are a 32nd of it, and CPU per request is 32 times that.",
    ]
    groups = dict.fromkeys(row.work.group for row in rows)
    parts += [f"**{group[0].upper()}{group[1:]}**\n\n{tables.of_work(rows, group, MEASURE)}" for group in groups]
    parts.append(f"### Memory, and what idle servers use\n\n{tables.of_footprints(findings)}")
    if findings.raw:
        parts.append(
            f"### The session alone\n\nRows/s (CPU in µs per row), one thread in each process.\n\n{tables.of_raw(findings)}"
        )
    if findings.absent:
        parts.append(f"### Left out\n\n{tables.of_absent(findings)}")
    return "\n\n".join(parts)


def write(findings: Findings, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Put a run's figures between the page's markers, and its picture beside the page; raise CannotRun without markers."""
    before = page.read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(BEGIN) > before.index(END):
        raise CannotRun(f"{page.name}: expected the lines '{BEGIN}' and '{END}', once each and in this order")
    head, rest = before.split(BEGIN)
    tail = rest.split(END)[1]
    shown = f"![Requests per second of every server]({picture.name})"
    picture.write_text(plot.draw(summarize(findings.rounds, MEASURE), _DRAWN), encoding="utf-8")
    page.write_text(f"{head}{BEGIN}\n\n{shown}\n\n{text(findings)}\n\n{END}{tail}", encoding="utf-8")


#: What `machine` and the date say already.
_MACHINE = ("date", "processor", "cores", "memory_gb", "system", "load_average_before")
