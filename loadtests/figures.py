"""From records to figures: rates, percentiles, failures by kind, over a load, by second, and how noisy they are.

Latencies count from when a request should have been sent. Percentiles are exact: the smallest latency that so large a share
did not exceed. For people they are of right answers; an objective takes a request that got none to have taken for ever.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtests.process import Load
from loadtests.records import RECORD, STAGES, TOLD, Kind
from models.tensors import Array

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

#: Answers that are there, and are not what the model says.
WRONG = (Kind.WRONG, Kind.SWAPPED, Kind.MALFORMED)

#: The blocks of which noise is taken: enough to see a spread, long enough for a 99th percentile of each.
_BLOCKS = 8
#: The slices of which a block is made where the load changes.
_SLICES = 25
#: Student's t for 95 % with 7 degrees of freedom.
_T = 2.365

#: A process of the generator above this share of a core has no time left to be exact.
SATURATED = 0.9
#: Woken so much too late, one time in twenty, the generator measures itself; the report says so.
STARVED_SECONDS = 0.01

Json = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Window:
    """The records that count: meant to be sent between two moments (seconds since the epoch)."""

    records: Array
    ended: Array
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @property
    def right(self) -> Array:
        """Which records got their right answer."""
        return np.asarray(self.records["kind"] == Kind.RIGHT)

    def percentile(self, percent: float) -> float:
        """Return a percentile in seconds in which a request without a right answer took for ever; NaN of nothing."""
        return percentile(np.where(self.right, self.records["seconds"], np.inf), percent)

    def share(self, *kinds: Kind) -> float:
        """Return the share of requests that ended in one of these ways; NaN of nothing."""
        return float(np.isin(self.records["kind"], kinds).mean()) if len(self.records) else float("nan")

    def part(self, first: float, last: float) -> "Window":
        """Return a part of the window, from one share of its length to another."""
        return window(self.ended, self.start + first * self.seconds, self.start + last * self.seconds)

    def of(self, traffic: int) -> "Window":
        """Return what one kind of traffic has of it."""
        mine = self.ended[self.ended["traffic"] == traffic]
        return window(mine, self.start, self.end)


def window(records: Array, start: float, end: float) -> Window:
    """Return the window between two moments."""
    inside = (records["meant"] >= start) & (records["meant"] < end)
    return Window(records[inside], records, start, end)


def window_of(load: Load) -> Window:
    """Return the window of a load without its warm-up; as far as it came, where it ended early."""
    start = load.started + load.plan.profile.warm_up
    end = load.started + load.plan.profile.seconds
    if load.interrupted or load.stopped:
        last = float((load.records["meant"] + load.records["seconds"]).max()) if len(load.records) else start
        end = min(end, last)
    return window(load.records, start, max(end, start + 1e-3))


def percentile(values: Array, percent: float) -> float:
    """Return the smallest value that so many percent of all do not exceed; NaN of none."""
    return float(np.percentile(values, percent, method="inverted_cdf")) if len(values) else float("nan")


def figures(seen: Window) -> Json:
    """Return the figures of a window: rates per second, latencies in milliseconds of right answers, failures as a share."""
    milliseconds = seen.records["seconds"][seen.right] * 1000.0
    ended = seen.ended["meant"] + seen.ended["seconds"]
    inside = (ended >= seen.start) & (ended < seen.end)
    good = inside & (seen.ended["kind"] == Kind.RIGHT)
    return {
        "requests": len(seen.records),
        "right": int(seen.right.sum()),
        "offered": _round(len(seen.records) / seen.seconds),
        "throughput": _round(float(inside.sum()) / seen.seconds),
        "goodput": _round(float(good.sum()) / seen.seconds),
        "errors": _round(1 - float(seen.right.mean()) if len(seen.records) else float("nan")),
        "wrong": _round(seen.share(*WRONG)),
        "mean_ms": _round(float(milliseconds.mean()) if len(milliseconds) else float("nan")),
        **{f"p{percent:g}_ms": _round(percentile(milliseconds, percent)) for percent in PERCENTILES},
        "max_ms": _round(float(milliseconds.max()) if len(milliseconds) else float("nan")),
    }


def noise(seen: Window, *, changing: bool = False) -> Json:
    """Return by how much each figure may be off: the half-width of a 95 % interval, from the spread over blocks of time.

    Blocks of a load that is changing are made of many thin slices, each from all over it: they differ by chance, too, and
    not by what was asked of them.
    """
    if changing:
        parts = [figures(_comb(seen, block)) for block in range(_BLOCKS)]
        for part in parts:
            for name in ("throughput", "goodput"):
                part[name] = part[name] * _BLOCKS
    else:
        parts = [figures(seen.part(block / _BLOCKS, (block + 1) / _BLOCKS)) for block in range(_BLOCKS)]
    found = {}
    for name in ("throughput", "goodput", "errors", "mean_ms", *(f"p{percent:g}_ms" for percent in PERCENTILES)):
        values = np.array([np.nan if part[name] is None else part[name] for part in parts], float)
        values = values[~np.isnan(values)]
        half = _T * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 2 else np.nan
        found[name] = _round(float(half))
    return found


def _comb(seen: Window, block: int) -> Window:
    """Return every eighth of many slices of a window."""
    width = seen.seconds / (_BLOCKS * _SLICES)

    def mine(at: Array) -> Array:
        return np.asarray(np.floor((at - seen.start) / width) % _BLOCKS == block)

    ended = seen.ended[mine(seen.ended["meant"] + seen.ended["seconds"])]
    return Window(seen.records[mine(seen.records["meant"])], ended, seen.start, seen.end)


def series(seen: Window, most: int = 300) -> Json:
    """Return figures by second, or by as many seconds as make at most so many points."""
    step = max(1.0, np.ceil(seen.seconds / most))
    points = []
    for number in range(max(1, int(seen.seconds // step))):
        part = window(seen.ended, seen.start + number * step, min(seen.end, seen.start + (number + 1) * step))
        told = figures(part)
        stages = stage_means(part)
        points.append([number * step, *(told[name] for name in _COLUMNS[1:7]), *(stages[stage] for stage in STAGES)])
    return {"columns": list(_COLUMNS), "points": points}


_COLUMNS = ("seconds", "offered", "goodput", "p50_ms", "p90_ms", "p99_ms", "errors", *STAGES)


def stage_means(seen: Window) -> Json:
    """Return the mean of each stage in milliseconds; None where no answer told it."""
    told = seen.records["stages"][seen.right]
    found = {}
    for number, stage in enumerate(STAGES):
        known = told[:, number][~np.isnan(told[:, number])]
        found[stage] = _round(float(known.mean())) if len(known) else None
    return found


def failures(load: Load, seen: Window) -> list[Json]:
    """Return how many requests failed in each way, and in what words, the most frequent first."""
    found = []
    for kind in Kind:
        count = int((seen.records["kind"] == kind).sum())
        if kind == Kind.RIGHT or not count:
            continue
        words: dict[str, int] = {}
        for facts in load.facts:
            for word, times in facts.get("examples", {}).get(kind.name, {}).items():
                words[word] = words.get(word, 0) + times
        examples = sorted(words, key=lambda word: -words[word])[:5]
        found.append({"kind": kind.name.lower(), "told": TOLD[kind], "count": count, "examples": examples})
    return sorted(found, key=lambda failure: -failure["count"])


def generator(load: Load, seen: Window) -> Json:
    """Return how the generator itself fared, and whether its figures are to be believed."""
    busy = [share for at, share in load.busy if seen.start <= at <= seen.end + 0.5]
    lags = np.array([lag for facts in load.facts for at, lag in facts.get("lags", []) if seen.start <= at <= seen.end])
    late = seen.records["late"] if len(seen.records) else np.zeros(1, np.float32)
    share = float(np.percentile(busy, 75)) if busy else 0.0
    lag = percentile(lags, 95) if len(lags) else 0.0
    return {
        "processes": load.plan.processes,
        "busy": _round(share),
        "busiest": _round(max(busy, default=0.0)),
        "lag_p95_ms": _round(lag * 1000),
        "late_p50_ms": _round(percentile(late, 50) * 1000),
        "late_p99_ms": _round(percentile(late, 99) * 1000),
        "connections_at_first": sum(facts.get("connections_at_first", 0) for facts in load.facts) or None,
        "connections": sum(facts.get("connections", 0) for facts in load.facts) or None,
        "never_sent": sum(facts.get("never_sent", 0) for facts in load.facts),
        "stood_in_line": sum(facts.get("stood_in_line", 0) for facts in load.facts),
        "told_to_wait": sum(facts.get("waited", 0) for facts in load.facts),
        "saturated": share >= SATURATED,
        "starved": lag >= STARVED_SECONDS,
    }


def empty() -> Array:
    """Return no records."""
    return np.zeros(0, RECORD)


def _round(value: float) -> float | None:
    """Return five digits of it; None for what is no number, which JSON has no word for."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
