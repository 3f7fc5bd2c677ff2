"""Two reports: what changed beyond noise. And variants of one report, measured in turns.

Each figure has an interval, from its spread over blocks of time. The ratio's interval is made of both, and widened by how
much the machine itself was faster or slower, as the calibration loops tell: a change within that is none.
"""

import math
from typing import Any

import numpy as np

from loadtests.report import Json

#: Figure → whether more of it is better.
_FIGURES = {"goodput": True, "mean_ms": False, "p50_ms": False, "p90_ms": False, "p99_ms": False, "errors": False}

#: Student's t for 95 % by degrees of freedom, up to the 30 from which it hardly changes.
_T = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    15: 2.131,
    30: 2.042,
}


def compare(old: Json, new: Json) -> list[Json]:
    """Return a line for each figure of each load that both reports have, and remarks on what differs around them."""
    found: list[Json] = [{"told": told} for told in _remarks(old, new)]
    drift = _drift(old, new)
    befores = {(run["label"], run["round"]): run for run in old["runs"]}
    for run in new["runs"]:
        before = befores.get((run["label"], run["round"]))
        if before is None or new.get("capacity"):  # the loads of a search were not the same
            continue
        label = "" if len(new["runs"]) == 1 else f"{run['label']} "
        for name, more in _FIGURES.items():
            # How much an open load offers is no matter of the machine's speed.
            mine = 0.0 if run["open"] and name in ("goodput", "errors") else drift
            line = _line(f"{label}{name}", _known(before, name), _known(run, name), more=more, drift=mine)
            if line is not None:
                found.append(line)
    if old.get("capacity") and new.get("capacity") and (line := _capacities(old["capacity"], new["capacity"])) is not None:
        found.append(line)
    return found


def _line(
    name: str, before: tuple[float, float] | None, now: tuple[float, float] | None, *, more: bool, drift: float
) -> Json | None:
    """Return one comparison of two figures with their half-widths; None where one is missing or nothing at all."""
    if before is None or now is None or before[0] == now[0] == 0:
        return None
    if before[0] <= 0 or now[0] <= 0:
        return _from_or_to_nothing(name, before, now, more=more)
    ratio = now[0] / before[0]
    # Relative half-widths add as independent ones do; the drift may be in any direction, and adds whole.
    half = math.hypot(before[1] / before[0], now[1] / now[0]) + drift
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    changed = not low <= 1 <= high
    verdict = "within noise" if not changed else "better" if (ratio > 1) == more else "worse"
    told = f"{name}: {before[0]:.4g} → {now[0]:.4g}, × {ratio:.3f} ({low:.3f} to {high:.3f}): {verdict}"
    return {
        "name": name, "before": before[0], "now": now[0], "ratio": round(ratio, 4), "low": round(low, 4),
        "high": round(high, 4), "verdict": verdict, "told": told,
    }  # fmt: skip


def _from_or_to_nothing(name: str, before: tuple[float, float], now: tuple[float, float], *, more: bool) -> Json:
    """Return the comparison of two figures of which one is zero: there is no ratio, and beyond its own noise it is clear."""
    changed = abs(now[0] - before[0]) > max(before[1], now[1])
    verdict = "within noise" if not changed else "better" if (now[0] > before[0]) == more else "worse"
    told = f"{name}: {before[0]:.4g} → {now[0]:.4g}: {verdict}"
    return {
        "name": name, "before": before[0], "now": now[0], "ratio": None, "low": None, "high": None, "verdict": verdict,
        "told": told,
    }  # fmt: skip


def _known(run: Json, name: str) -> tuple[float, float] | None:
    value, half = run["totals"].get(name), run["noise"].get(name)
    return None if value is None or half is None else (float(value), float(half))


def _capacities(before: Json, now: Json) -> Json | None:
    """Return how two capacities compare: as their own intervals do, which hold the drift within each search already."""
    if not (before["valid"] and now["valid"]):
        return None
    ratio = now["rate"] / before["rate"]
    apart = now["low"] > before["high"] or now["high"] < before["low"]
    verdict = ("better" if ratio > 1 else "worse") if apart else "within noise"
    intervals = [f"{side['rate']:.4g} ({side['low']:.4g} to {side['high']:.4g})" for side in (before, now)]
    overlap = "the intervals do not overlap" if apart else "the intervals overlap"
    return {
        "name": "capacity per second", "before": before["rate"], "now": now["rate"], "ratio": round(ratio, 4),
        "low": round(now["low"] / before["high"], 4), "high": round(now["high"] / before["low"], 4), "verdict": verdict,
        "told": f"capacity: {intervals[0]} → {intervals[1]} arrivals/s, × {ratio:.3f}; {overlap}: {verdict}",
    }  # fmt: skip


def _drift(old: Json, new: Json) -> float:
    """Return by how much the machine's speed differed between the two, as the logarithm of a ratio."""
    speeds = [[speed["milliseconds"] for speed in report["environment"]["calibration"]] for report in (old, new)]
    before, now = (float(np.median(side)) for side in speeds)
    return abs(math.log(now / before))


def _remarks(old: Json, new: Json) -> list[str]:
    """Return in words what is not the same around the figures."""
    found = [f"against the report of {old['made']}; the machine's own speed differed by {math.expm1(_drift(old, new)):.0%}"]
    for name, place in (("machine", "environment"), ("libraries", "environment"), ("models", "target")):
        before, now = old[place][name], new[place][name]
        if name == "models":
            before, now = ({model: known["digest"] for model, known in side.items()} for side in (before, now))
        if before != now:
            found.append(f"{name}: was {_brief(before)}, is {_brief(now)}")
    asked = {"compare", "report", "config"}
    differ = [key for key in {**old["options"], **new["options"]} if old["options"].get(key) != new["options"].get(key)]
    if differ := sorted(set(differ) - asked):
        found.append(f"not asked the same: {', '.join(differ)}")
    return found


def variants(runs: list[Json]) -> list[Json]:
    """Return how each variant stands to the first, by the ratios within rounds: the drift of hours is in none of them."""
    labels = list(dict.fromkeys(run["label"] for run in runs))
    found = []
    for label in labels[1:]:
        for name in ("goodput", "p50_ms", "p99_ms"):
            ratios = _ratios(runs, labels[0], label, name)
            if not ratios:
                continue
            logs = np.log(ratios)
            middle, free = float(logs.mean()), len(logs) - 1
            half = t_of(free) * float(logs.std(ddof=1)) / math.sqrt(len(logs)) if free else math.inf
            low, high = (math.exp(middle - half), math.exp(middle + half)) if free else (0.0, None)
            interval = "of one round" if high is None else f"{low:.3f} to {high:.3f}, {len(logs)} rounds"
            told = f"{label} ÷ {labels[0]}, {name}: × {math.exp(middle):.3f} ({interval})"
            found.append({"label": label, "figure": name, "ratio": round(math.exp(middle), 4), "told": told})
    return found


def _ratios(runs: list[Json], first: str, label: str, name: str) -> list[float]:
    by_round: dict[int, dict[str, Any]] = {}
    for run in runs:
        by_round.setdefault(run["round"], {})[run["label"]] = run["totals"][name]
    pairs = [(told.get(label), told.get(first)) for told in by_round.values()]
    return [now / before for now, before in pairs if now and before]


def t_of(free: int) -> float:
    """Return Student's t for 95 %, by the next smaller number of degrees of freedom that is known."""
    return _T[max((known for known in _T if known <= free), default=1)]


def _brief(value: object) -> str:
    return str(value)[:120]
