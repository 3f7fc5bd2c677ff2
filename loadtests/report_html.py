"""The report as one page for a browser: verdict, figures, curves, failures in words, and where it was measured.

The page holds all it shows and fetches nothing, so that it can be kept as a build's artifact and opened years later.
"""

import itertools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtests import chart
from loadtests.records import STAGES
from loadtests.report import BAD, COULD_NOT_RUN, GOOD, INTERRUPTED, INVALID, Json

_VERDICTS = {
    GOOD: "all is well",
    BAD: "not good",
    COULD_NOT_RUN: "could not run",
    INVALID: "not valid: the generator was saturated",
    INTERRUPTED: "interrupted",
}


def to_bytes(report: Json) -> bytes:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["figure"] = _figure
    template = environment.get_template("report.html.j2")
    page = template.render(
        report=report,
        verdict=_VERDICTS[report["exit_code"]],
        good=report["exit_code"] == GOOD,
        overview=_shown(overview(report)),
        charts=[_shown(of_run(run)) for run in report["runs"]],
    )
    return page.encode()


def _shown(charts: list[str]) -> list[Markup]:
    """Return charts as they go into the page: chart.py has escaped every word in them."""
    return [Markup(svg) for svg in charts if svg]  # noqa: S704


#: How the charts of levels are called, by what a level is.
_LEVELS = {True: ("each load", "offered per second"), False: ("each number of users", "users")}

#: A level of users counts from so many seconds after its begin, where it lasts long enough: Locust looks for it once a
#: second, and then takes one to start them.
_SETTLING_SECONDS = 2


def overview(report: Json) -> list[str]:
    """Return the charts of the whole: latency and goodput at each level, and how the machine's speed drifted."""
    charts = []
    joined = not report.get("capacity")  # a search tries the same rates again, and finds them changed
    levels = _levels(report)
    for open_load, (each, x) in _LEVELS.items():
        points = sorted((point for of, point in levels if of == open_load), key=lambda point: point[0])
        if len({level for level, _, _ in points}) < 2:
            continue
        curves = [
            (name, [(level, latency[number]) for level, _, latency in points]) for number, name in enumerate(("p50", "p99"))
        ]
        charts.append(chart.lines(f"latency at {each}", x, "ms", curves, dots=True, joined=joined))
        carried = [("goodput", [(level, goodput) for level, goodput, _ in points])]
        charts.append(chart.lines(f"goodput at {each}", x, "right answers/s", carried, dots=True, joined=joined))
    speeds = report["environment"]["calibration"]
    if len(speeds) > 2:
        drift = [("middle", [(speed["at"] - speeds[0]["at"], speed["milliseconds"]) for speed in speeds])]
        charts.append(chart.lines("this machine's own speed", "seconds", "ms per piece of work", drift, dots=True))
    return charts


def _levels(report: Json) -> list[tuple[bool, tuple[float, float, tuple[Any, Any]]]]:
    """Return each level there was, goodput and latencies at it, and whether it is of an open load.

    Levels are trials, runs, or the steps of one that changes; rates of an open load, users of a closed one.
    """
    if (capacity := report.get("capacity")) is not None:
        trials = capacity["trials"]
        return [(True, (trial["rate"], trial["goodput"], (trial["p50_ms"], trial["p99_ms"]))) for trial in trials]
    found = []
    for run in report["runs"]:
        told, of = run["totals"], bool(run["open"])
        corners = run["profile"]["corners"]
        if len({level for _, level in corners}) == 1:
            level = told["offered"] if of else corners[0][1]
            found.append((of, (level, told["goodput"], (told["p50_ms"], told["p99_ms"]))))
            continue
        plateaus = [(start, end) for start, end in itertools.pairwise(corners) if start[1] == end[1]]
        for (begin, level), (end, _) in plateaus:
            mine = _plateau(run, begin - run["warm_up"], end - run["warm_up"], level if of else round(level) or 1)
            found += [(of, point) for point in mine]
    return [(of, point) for of, point in found if None not in point[:2]]


def _plateau(run: Json, begin: float, end: float, level: float) -> list[tuple[float, float, tuple[Any, Any]]]:
    """Return the middle of the seconds in which a load stood at one level; nothing where it did not for a whole one."""
    points = [dict(zip(run["series"]["columns"], point, strict=True)) for point in run["series"]["points"]]
    step = points[1]["seconds"] - points[0]["seconds"] if len(points) > 1 else 1.0
    if not run["open"] and end - begin >= 2 * _SETTLING_SECONDS:
        begin += _SETTLING_SECONDS
    inside = [point for point in points if begin <= point["seconds"] and point["seconds"] + step <= end + 1e-9]
    if not inside:
        return []

    def middle(name: str) -> float | None:
        known = sorted(point[name] for point in inside if point[name] is not None)
        return known[len(known) // 2] if known else None

    return [(level, middle("goodput") or 0.0, (middle("p50_ms"), middle("p99_ms")))]


def of_run(run: Json) -> list[str]:
    """Return the charts of one load."""
    columns, points = run["series"]["columns"], run["series"]["points"]

    def curve(name: str) -> tuple[str, list[tuple[Any, Any]]]:
        number = columns.index(name)
        return name.removesuffix("_ms"), [(point[0], point[number]) for point in points]

    stages = [curve(stage) for stage in STAGES[:-1]]
    charts = [
        chart.lines("latency, from when a request was due", "seconds", "ms", [curve(f"p{p}_ms") for p in (50, 90, 99)]),
        chart.lines("load", "seconds", "per second", [curve("offered"), curve("goodput")]),
        chart.lines("Server-Timing", "seconds", "ms", stages),
        chart.lines("requests without a right answer", "seconds", "share", [curve("errors")]),
    ]
    server = run["server"]
    if "queue" in server:
        inside = [("rows waiting", server["queue"]), ("in flight", server["in_flight"])]
        charts.append(chart.lines("in the server (/metrics)", "seconds", "", inside))
        for model, known in server["models"].items():
            batches = [(bound, float(count)) for bound, count in known["batch_rows"].items()]
            charts.append(chart.bars(f"batches of {model}", "up to so many rows", "batches", batches))
    return charts


def _figure(value: object) -> str:
    """Return a number as people read it."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
