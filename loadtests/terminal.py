"""A report as a terminal shows it: the figures that people look for first, failures in words, and the verdict."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]  # Any: JSON

_COLUMNS = (
    ("count", "requests"), ("failed", ""), ("good/s", "goodput"), ("p50 ms", "p50_ms"), ("p95 ms", "p95_ms"),
    ("p99 ms", "p99_ms"), ("max ms", "max_ms"),
)  # fmt: skip


def lines(report: Json) -> Iterator[str]:
    """Yield the lines of a report."""
    for model, known in report["target"]["models"].items():
        version = f"{model}/{known['version'] or '?'}"
        yield f"{version}: {known['samples']} samples, {known['distinct']} answers differ; expected: {known['expected']}"
    for run in report["runs"]:
        yield from of_run(run)
    if (capacity := report.get("capacity")) is not None:
        yield from of_capacity(capacity)
    for line in report.get("variants", []):
        yield line["told"]
    for line in report.get("tuning", {}).get("told", []):
        yield line
    if "tuning" in report:
        yield ""
        yield report["tuning"]["config"]
    for line in report.get("comparison", []):
        yield line["told"]
    if report["interrupted"] is not None:
        yield f"{report['interrupted']}: the figures are those until then"


def of_run(run: Json) -> Iterator[str]:
    """Yield the lines of one load."""
    yield f"{run['label']}: {run['load']}, {run['seconds']:.3g} s"
    yield f"  {'request':<18}" + "".join(f"{head:>10}" for head, _ in _COLUMNS)
    rows = run["traffic"] if len(run["traffic"]) > 1 else {}
    for name, told in {**rows, "all" if rows else next(iter(run["traffic"])): run["totals"]}.items():
        yield f"  {name:<18}" + "".join(f"{_cell(told, key):>10}" for _, key in _COLUMNS)
    for failure in run["failures"]:
        yield f"  FAILED {failure['count']:,} × {failure['told']}: {'; '.join(failure['examples'])[:300]}"
    for remark in run["remarks"]:
        yield f"  note: {remark}"
    if run["stopped"]:
        yield f"  ended early: {run['stopped']}"
    for judged in run["slo"]:
        yield f"  {'kept  ' if judged['kept'] else 'MISSED'} {judged['objective']}: {judged['told']}"
    yield f"  {of_answers(run['totals'])}"


def of_answers(totals: Json) -> str:
    """Return in a few words whether the answers were right."""
    count, failed = totals["requests"], totals["requests"] - totals["right"]
    if not count:
        return "no request of the measured time"
    return f"{count:,} requests, {failed:,} of them failed" if failed else f"all {count:,} answers were right"


def of_capacity(capacity: Json) -> Iterator[str]:
    """Yield what a search has found."""
    yield f"{'arrivals/s':>12}{'kept':>7}{'p99 ms':>9}{'errors':>9}{'calibration ms':>16}  generator busy"
    for trial in capacity["trials"]:
        p99 = "–" if trial["p99_ms"] is None else f"{trial['p99_ms']:.4g}"
        errors = "–" if trial["errors"] is None else f"{trial['errors']:.2%}"
        blamed = {"generator": " spoiled by the generator", "machine": " spoiled: the machine was slow"}
        busy = f"{trial['busy']:.0%}{blamed.get(trial['cause'], '')}"
        kept = "yes" if trial["kept"] else "no"
        yield f"{trial['rate']:>12.5g}{kept:>7}{p99:>9}{errors:>9}{trial['calibration_ms']:>16.3g}  {busy}"
    yield capacity["told"]


def _cell(told: Json, key: str) -> str:
    value = told["requests"] - told["right"] if not key else told[key]
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
