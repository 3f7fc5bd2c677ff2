"""What a run has found, as tables in Markdown, which are easy to read as they are."""

from collections.abc import Iterable, Sequence

from loadtests.benchmark.figures import Findings, Row
from loadtests.benchmark.goals import GOALS, IDLE, PEAK, Goal, Verdict, judge
from loadtests.benchmark.raw import BATCHES, PROCESSES, Raw
from loadtests.benchmark.work import SMALL, Work

_NOTHING = "–"


def of_work(rows: Sequence[Row], group: str, measure: str) -> str:
    """Return the table of one group of work: a line for each side, a column for each number of connections."""
    mine = [row for row in rows if row.work.group == group]
    works = list(dict.fromkeys(row.work for row in mine))
    lines = [["server", *(_head(work) for work in works)], ["-", *["-:"] * len(works)]]
    for side in dict.fromkeys(row.side for row in mine):
        cells = {row.work: _cell(row, measure) for row in mine if row.side == side}
        lines.append([side, *(cells.get(work, _NOTHING) for work in works)])
    return _table(lines)


def of_goals(findings: Findings) -> str:
    """Return the table of goals: what was to be reached, what was found, whether that is enough."""
    lines = [["work", "figure", "of", "beside", "goal", "found", ""], ["-", "-", "-", "-", "-:", "-:", "-"]]
    lines += [_judged(judge(goal, findings)) for goal in GOALS]
    return _table(lines)


def count_of_goals(findings: Findings) -> str:
    """Return in one sentence how many goals are met."""
    found = [judge(goal, findings).met for goal in GOALS]
    met, missed, unknown = (found.count(said) for said in (True, False, None))
    return f"{met} of {len(found)} are met, {missed} missed, {unknown} not measured. Ratios are medians over the rounds."


def of_footprints(findings: Findings) -> str:
    """Return the table of memory and idle processor time, of the small model."""
    lines = [["server", "peak MB", "idle, % of a core"], ["-", "-:", "-:"]]
    lines += [
        [one.side, f"{one.peak_mb:.0f}", f"{one.idle_share * 100:.2f}"] for one in findings.footprints if one.model == SMALL
    ]
    return _table(lines)


def of_raw(findings: Findings) -> str:
    """Return the table of the sessions alone: rows per second and processor time per row."""
    lines = [["model", "processes", *(f"batch {batch}" for batch in BATCHES)], ["-", "-:", *["-:"] * len(BATCHES)]]
    for model in dict.fromkeys(one.model for one in findings.raw):
        for processes in PROCESSES:
            found = [one for one in findings.raw if (one.model, one.processes) == (model, processes)]
            cells = [_of_batch([one for one in found if one.batch == batch]) for batch in BATCHES]
            lines.append([model, str(processes), *cells])
    return _table(lines)


def of_absent(findings: Findings) -> str:
    """Return a line for each side that was left out, and why, without the logs that may follow a reason."""
    lines = [f"- {one.side}{f' ({one.work})' if one.work else ''}: {one.reason.splitlines()[0]}" for one in findings.absent]
    return "\n".join(lines)


def _head(work: Work) -> str:
    return f"{work.connections} connection{'s' if work.connections > 1 else ''}"


def _cell(row: Row, measure: str) -> str:
    """Return `requests/s · p50/p99 ms · CPU µs`, and what it is beside the measure; of many images, rows and CPU per row."""
    rows = row.work.rows
    parts = [f"{row.rows_per_second:,.0f}"]
    if row.p50_ms is not None and row.p99_ms is not None:
        parts.append(f"{row.p50_ms:.2f}/{row.p99_ms:.2f}")
    parts.append(f"{row.cpu_us / rows:,.0f}")
    if row.throughput_ratio is not None and row.side != measure:
        parts.append(f"{row.throughput_ratio:.2f}×")
    return " · ".join(parts)


def _judged(verdict: Verdict) -> list[str]:
    goal = verdict.goal
    said = {None: "not measured", True: "met", False: "**missed**"}[verdict.met]
    if isinstance(goal, Goal):
        opponent = verdict.opponent or goal.against
        beside = opponent if opponent == goal.against else f"{opponent} (best {goal.against})"
        bound = f"{'≥' if goal.is_least else '≤'} {goal.bound:.2f} ×"
        found = _NOTHING if verdict.found is None else f"{verdict.found:.2f} ×"
        return [str(goal.work), goal.figure, goal.ours, beside, bound, found, said]
    show = {PEAK: "{:.0f} MB", IDLE: "{:.2%}"}[goal.figure]
    found = _NOTHING if verdict.found is None else show.format(verdict.found)
    return ["small model", goal.figure, goal.ours, "", f"≤ {show.format(goal.bound)}", found, said]


def _of_batch(found: Sequence[Raw]) -> str:
    """Return the median run, by rows per second."""
    if not found:
        return _NOTHING
    one = sorted(found, key=lambda one: one.rows_per_second)[len(found) // 2]
    return f"{one.rows_per_second:,.0f} ({one.cpu_us_per_row:,.0f})"


def _table(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
