"""A search for the capacity of a real server: trials, each an open load of its own, and who is to blame where one fails.

A trial has a warm-up and two stability windows: the objective must be kept in both, and what arrives must be answered, or
latencies only have not grown long enough yet. A trial that fails says nothing of the server where the generator had no
processor time left, or was woken too late for the objective to be measured. And no trial counts that was made while the
machine itself was slower than at other times of the search, by the calibration loops before and after: not one that kept the
objective either, for whoever tries until it is kept finds too much. Such trials are made again.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests import capacity, figures, process, report
from loadtests.calibration import Speed, calibrate, drift
from loadtests.capacity import Estimate, Trial
from loadtests.descriptors import TooFew
from loadtests.plan import Plan
from loadtests.shapes import make
from loadtests.slo import Objective, judge, latency_limit, unexcused

#: Arrivals that a trial must have at least, so that its percentiles are of something.
_FEWEST = 150
_LONGEST_SECONDS = 30.0

#: A server that keeps up has answered all but this share of what came, and what is under way.
_BEHIND = 0.03

#: A generator that is woken later than this share of the strictest latency, one time in twenty, cannot measure it.
_LATE = 0.5

#: A machine this much slower than at its best during the search is not the one whose capacity is searched.
_SLOWER = 1.5

#: Trials that do not count are made again, but not for ever: so many times the budget's trials there are at most.
_MOST = 2

#: A trial that the generator spoiled is made again: it may have been a neighbour's doing. So many in a row are its own.
_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a search may cost: seconds of each trial and before it, trials, and the precision that is enough."""

    trial_seconds: float = 5.0
    warm_up: float = 1.0
    trials: int = 16
    precision: float = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """A search: its trials as a report has them, what they tell, and which signal ended it, if one did."""

    trials: list[report.Json]
    estimate: Estimate | None
    why: str
    speeds: list[Speed]
    interrupted: str | None = None
    #: The load of the last trial that kept the objective: the server near its capacity, for the report.
    near: process.Load | None = None
    near_label: str = "the last trial that kept it"

    @property
    def valid(self) -> bool:
        """Whether a capacity was found."""
        return self.estimate is not None and self.interrupted is None

    def to_json(self, slo: str) -> report.Json:
        """Return it as a report has it."""
        known = self.estimate
        return {
            "slo": slo,
            "valid": self.valid,
            "rate": None if known is None else round(known.rate, 2),
            "low": None if known is None else round(known.low, 2),
            "high": None if known is None else round(known.high, 2),
            "drift": round(drift([speed.milliseconds for speed in self.speeds]), 4),
            "trials": self.trials,
            "told": self.told(slo),
        }

    def told(self, slo: str) -> str:
        """Return the result in one sentence."""
        known = self.estimate
        if known is None:
            return f"no capacity with {slo}: {self.why}"
        wandered = drift([speed.milliseconds for speed in self.speeds])
        return (
            f"capacity with {slo}: {known.rate:,.4g} arrivals/s, 95 % interval {known.low:,.4g} to {known.high:,.4g} "
            f"({len(self.trials)} trials; {self.why}); the machine's own speed drifted by {wandered:.0%} meanwhile"
        )


def find(
    load: Callable[[Plan], process.Load],
    plan: Plan,
    objectives: tuple[Objective, ...],
    budget: Budget,
    *,
    first: float,
    settle: Callable[[], None] = lambda: None,
    speed: Callable[[], Speed] = calibrate,
) -> Found:
    """Search the largest rate that keeps the objectives, beginning at `first`.

    The server `settle`s after each trial, and then `speed` tells how fast the machine is.
    """
    told: list[report.Json] = []
    speeds = [speed()]
    near: process.Load | None = None
    while True:
        rate = capacity.next_rate(_telling(told), first)
        try:
            one = load(_planned(plan, rate, budget, len(told)))
        except TooFew as error:  # the first trial of all is an error, and the others have told something
            if not told:
                raise
            return Found(told, None, f"the generator: {error}", speeds, near=near)
        interrupted = one.interrupted
        try:
            settle()
        except KeyboardInterrupt as error:  # the trial itself is whole
            interrupted = str(error)
        speeds.append(speed())
        if one.interrupted is None:
            trial = _told(one, rate, objectives, slower=max(speeds[-2].milliseconds, speeds[-1].milliseconds))
            told.append(trial)
            near = one if trial["kept"] else near
            _progress(trial, len(told))
        trials = _telling(told)
        if interrupted is not None:
            found = _ended(trials, told, speeds, near, interrupted, interrupted=interrupted)
            # Where no trial has come to its end, the one that was interrupted is what has been measured.
            return found if told else replace(found, near=one, near_label="the trial that was interrupted")
        if one.stopped is not None:
            return Found(told, None, f"the search has ended, as {one.stopped}", speeds, near=near)
        if (why := _enough(trials, told, budget)) is not None:
            return _ended(trials, told, speeds, near, why)


def _telling(told: list[report.Json]) -> list[Trial]:
    """Return the trials, and which of them count: none during which the machine was slow.

    How fast the machine can be shows in the course of a search: this judges all of its trials anew.
    """
    best = min((trial["calibration_ms"] for trial in told), default=0.0)
    for trial in told:
        if trial["cause"] != "generator":
            usual = None if trial["kept"] else "server"
            trial["cause"] = "machine" if trial["calibration_ms"] > _SLOWER * best else usual
    return [Trial(trial["rate"], trial["kept"], counts=trial["cause"] in (None, "server")) for trial in told]


def _planned(plan: Plan, rate: float, budget: Budget, number: int) -> Plan:
    """Return the plan of a trial; at a low rate it is longer, and each has arrivals of its own."""
    seconds = min(_LONGEST_SECONDS, max(budget.trial_seconds, _FEWEST / rate))
    profile = make("steady", rate, seconds, warm_up=budget.warm_up)
    return replace(plan, profile=profile, open_load=True, seed=plan.seed + number)


def _told(load: process.Load, rate: float, objectives: tuple[Objective, ...], *, slower: float) -> report.Json:
    """Return one trial as a report has it: what it was, whether it kept the objectives, and what limited it if not."""
    seen = figures.window_of(load)
    halves = (seen.part(0.0, 0.5), seen.part(0.5, 1.0))
    totals, generator = figures.figures(seen), figures.generator(load, seen)
    judged = [one for half in halves for one in judge(objectives, half)]
    ended = seen.ended["meant"] + seen.ended["seconds"]
    backlog = float(((seen.records["meant"] + seen.records["seconds"]) > seen.end).sum())
    before = float(((seen.ended["meant"] < seen.start) & (ended > seen.start)).sum())
    room = 3 * math.sqrt(max(1, len(seen.records))) + _BEHIND * len(seen.records)
    stable = backlog - before <= room
    told_of = len(seen.records) > 0 and not unexcused(objectives, seen)
    kept = told_of and stable and not generator["never_sent"] and all(one.kept for one in judged)
    limit = latency_limit(objectives)
    late = limit is not None and (generator["lag_p95_ms"] or 0.0) > _LATE * limit * 1000
    server = load.metrics.to_json([traffic.model for traffic in load.plan.traffic], seen.start, seen.end)
    queue = [depth for _, depth in server.get("queue", [])]
    cause = None if kept else "generator" if generator["saturated"] or late or generator["never_sent"] else "server"
    return {
        "rate": round(rate, 3),
        "kept": kept,
        "stable": stable,
        "cause": cause,
        "offered": totals["offered"],
        "goodput": totals["goodput"],
        "p50_ms": totals["p50_ms"],
        "p99_ms": totals["p99_ms"],
        "errors": totals["errors"],
        "missed": sorted({str(one) for one in judged if not one.kept}),
        "busy": generator["busy"],
        "lag_p95_ms": generator["lag_p95_ms"],
        "cores": server.get("cores"),
        "queue_rows": max(queue, default=None),
        "calibration_ms": round(slower, 3),
    }


def _enough(trials: Sequence[Trial], told: Sequence[report.Json], budget: Budget) -> str | None:
    """Return why the search is over, None where it is not."""
    last = told[-_IN_A_ROW:]
    if len(last) == _IN_A_ROW and all(trial["cause"] == "generator" for trial in last):
        return "the generator"
    if capacity.bracketed(trials) and capacity.estimate(trials).precision <= budget.precision:
        return "precise enough"
    if len([trial for trial in trials if trial.counts]) >= budget.trials or len(trials) >= _MOST * budget.trials:
        return "no more trials"
    if trials[-1].rate < 0.05:
        return "nothing"
    return None


def _ended(
    trials: Sequence[Trial],
    told: list[report.Json],
    speeds: list[Speed],
    near: process.Load | None,
    why: str,
    *,
    interrupted: str | None = None,
) -> Found:
    """Return the search with its reasons in words."""
    if why == "the generator":
        busiest = max(trial["busy"] or 0.0 for trial in told)
        latest = max(trial["lag_p95_ms"] or 0.0 for trial in told)
        words = (
            f"the generator was saturated before the server: {busiest:.0%} of a core, woken up to {latest:.3g} ms late "
            "(--processes N, or a machine of its own)"
        )
        return Found(told, None, words, speeds, near=near)
    if not capacity.bracketed(trials):
        kept = any(trial.kept for trial in trials)
        edge = "every rate that was tried kept it" if kept else "no rate that was tried kept it"
        if any(trial["cause"] == "machine" for trial in told):
            edge = f"{edge}, but for those during which the machine was slow"
        return Found(told, None, f"{edge}; {why}", speeds, interrupted, near)
    words = f"{_limited(told)}; {why}"
    for cause, excuse in (("generator", "the generator was late"), ("machine", "the machine was slow")):
        if spoiled := len([trial for trial in told if trial["cause"] == cause]):
            words += f"; {spoiled} made again, as {excuse}"
    return Found(told, capacity.estimate(trials), words, speeds, interrupted, near)


def _limited(told: Sequence[report.Json]) -> str:
    """Say of what the server had no more, by its own figures in the trials that failed."""
    failed = [trial for trial in told if trial["cause"] == "server"]
    cores = [trial["cores"] for trial in failed if trial["cores"] is not None]
    words = "the server is the limit"
    return f"{words}, with {sorted(cores)[len(cores) // 2]:.2g} cores in use" if cores else words


def _progress(trial: dict[str, Any], number: int) -> None:
    p99 = "–" if trial["p99_ms"] is None else f"{trial['p99_ms']:.4g} ms"
    words = "kept" if trial["kept"] else f"missed ({trial['cause']})"
    sys.stderr.write(f"trial {number}: {trial['rate']:,.5g}/s {words}, p99 {p99}\n")
    sys.stderr.flush()
