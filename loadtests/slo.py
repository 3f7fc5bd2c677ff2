"""Objectives: `p99<50ms, errors<0.1%, goodput>500`. Read, judged, and told as what was wanted and what was found.

A percentile or the mean counts a request that got no right answer as one that took for ever: refusals are quick, and
must not make a server look so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.figures import WRONG, Window, figures
from loadtests.records import Kind

_TERM = re.compile(
    r"\s*(?P<metric>[a-z_]+|p\d{1,2}(?:\.\d+)?)\s*(?P<sign><=|>=|<|>)\s*(?P<number>[\d.]+)\s*(?P<unit>\S*)\s*"
)

_SECONDS = {"": 0.001, "ms": 0.001, "s": 1.0, "us": 1e-6, "µs": 1e-6}
_SHARES = {"": 1.0, "%": 0.01}
_RATES = {"": 1.0, "/s": 1.0, "rps": 1.0}

#: Metrics besides percentiles: what they are measured in.
_UNITS = {
    "mean": _SECONDS, "max": _SECONDS, "errors": _SHARES, "wrong": _SHARES, "refused": _SHARES, "goodput": _RATES,
    "throughput": _RATES,
}  # fmt: skip


#: More than any latency, rate or share that anybody wants.
_HIGHEST = 1e9

#: Metrics that are shares of requests: which kinds of failure each counts.
FAILURES = {
    "errors": tuple(kind for kind in Kind if kind != Kind.RIGHT),
    "wrong": WRONG,
    "refused": (Kind.REFUSED,),
}


class SloError(ValueError):
    """An objective cannot be read; the message names the term, what is expected and what was found."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One term. `limit` is in seconds, as a share, or per second."""

    text: str
    metric: str
    sign: str
    limit: float

    @property
    def is_latency(self) -> bool:
        """Whether it is about how long answers take."""
        return self.metric.startswith("p") or _UNITS.get(self.metric) is _SECONDS

    def at_least(self, other: "Objective") -> bool:
        """Tell whether its metric is never below another's: the same one, or a higher percentile."""
        percentiles = self.metric.startswith("p") and other.metric.startswith("p")
        return float(self.metric[1:]) >= float(other.metric[1:]) if percentiles else self.metric == other.metric

    def found(self, seen: Window) -> float:
        """Return what a window has of it; NaN where there is nothing to measure."""
        if self.metric.startswith("p"):
            return seen.percentile(float(self.metric[1:]))
        if self.metric in ("mean", "max"):
            seconds = np.where(seen.right, seen.records["seconds"], np.inf)
            return float(getattr(seconds, self.metric)()) if len(seconds) else float("nan")
        if self.metric in ("goodput", "throughput"):
            return float(figures(seen)[self.metric] or 0.0)
        return seen.share(*FAILURES[self.metric])

    def kept(self, value: float) -> bool:
        """Tell whether a value keeps it; what could not be measured keeps nothing."""
        return {
            "<": value < self.limit, "<=": value <= self.limit, ">": value > self.limit, ">=": value >= self.limit,
        }[self.sign]  # fmt: skip

    def told(self, value: float) -> str:
        """Return a value as people write it."""
        if np.isnan(value):
            return "nothing measured"
        if self.is_latency:
            return "no right answer" if np.isinf(value) else f"{value * 1000:.4g} ms"
        return f"{value:.3%}" if _UNITS[self.metric] is _SHARES else f"{value:,.1f}/s"


@dataclass(frozen=True, slots=True)
class Judged:
    """One objective, what was found, and whether it is kept."""

    objective: Objective
    value: float
    kept: bool

    def __str__(self) -> str:
        return f"{self.objective.text}: {'kept' if self.kept else 'MISSED'}, found {self.objective.told(self.value)}"

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        value = float(f"{self.value:.6g}") if np.isfinite(self.value) else None
        told = self.objective.told(self.value)
        return {"objective": self.objective.text, "found": value, "told": told, "kept": self.kept}


def parse(text: str) -> tuple[Objective, ...]:
    """Read objectives; raise SloError."""
    found = []
    for term in text.split(","):
        if ";" in term or len(re.findall("[<>]", term)) > 1:
            raise SloError(f"slo: expected a comma between terms, as p99<50ms,errors<0.1%; found {term.strip()!r}")
        match = _TERM.fullmatch(term)
        if match is None:
            raise SloError(f"slo: expected terms as p99<50ms, errors<0.1%, goodput>500; found {term.strip()!r}")
        metric, unit = match["metric"], match["unit"]
        units = _SECONDS if re.fullmatch(r"p\d.*", metric) else _UNITS.get(metric)
        if units is None:
            raise SloError(f"slo: expected pNN, {', '.join(_UNITS)}; found {metric!r}")
        if unit not in units:
            known = ", ".join(unit or "none" for unit in units)
            raise SloError(f"slo: {metric}: expected a unit of {known}; found {unit!r}")
        try:
            number = float(match["number"])
        except ValueError:
            raise SloError(f"slo: {metric}: expected a number, found {match['number']!r}") from None
        if not np.isfinite(number) or number > _HIGHEST:
            raise SloError(f"slo: {metric}: expected a number up to {_HIGHEST:g}, found {match['number']:.20}")
        if number < 0 or (metric not in _UNITS and float(metric[1:]) <= 0):
            raise SloError(f"slo: expected a percentile above 0, found {metric!r}")
        found.append(Objective(term.strip(), metric, match["sign"], number * units[unit]))
    _check(found)
    return tuple(found)


def _check(found: Sequence[Objective]) -> None:
    """Raise SloError for an objective that nothing can keep, and for two that nothing can keep both."""
    for one in found:
        share = _UNITS.get(one.metric) is _SHARES
        if (one.sign == "<" and one.limit <= 0) or (share and one.sign == ">" and one.limit >= 1):
            raise SloError(f"slo: {one.text}: expected something that can be, as {one.metric}{one.sign}={one.limit:g}")
        if share and one.limit > 1:
            raise SloError(f"slo: {one.text}: expected a share up to 100%, found more")
    for low in (one for one in found if one.sign[0] == ">"):
        for high in (one for one in found if one.sign[0] == "<" and one.at_least(low)):
            if low.limit > high.limit or (low.limit == high.limit and (low.sign, high.sign) != (">=", "<=")):
                raise SloError(f"slo: {low.text}, {high.text}: expected objectives that can both be kept")


def unexcused(objectives: tuple[Objective, ...], seen: Window) -> float:
    """Return the share of requests that failed in a way of which no objective says how much of it is allowed.

    Where no answer at all is right none of them is excused: a load that nobody answered has shown nothing.
    """
    if not len(seen.records):
        return 0.0
    if not seen.right.any():
        return 1.0
    spoken_of = {kind for one in objectives for kind in FAILURES.get(one.metric, ())}
    # What was never sent is nothing that the server has done: the verdict has its own word for it.
    others = [kind for kind in FAILURES["errors"] if kind not in spoken_of and kind != Kind.NEVER_SENT]
    return seen.share(*others) if others else 0.0


def judge(objectives: tuple[Objective, ...], seen: Window) -> tuple[Judged, ...]:
    """Judge each objective by a window."""
    values = [(objective, objective.found(seen)) for objective in objectives]
    return tuple(Judged(objective, value, objective.kept(value)) for objective, value in values)


def latency_limit(objectives: tuple[Objective, ...]) -> float | None:
    """Return the strictest latency in seconds, None where none is wanted."""
    return min((objective.limit for objective in objectives if objective.is_latency), default=None)
