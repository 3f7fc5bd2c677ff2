"""A report as JSON: what was asked, what was found, where, and whether it is good. Everything else is made of it.

Exit codes: 0 all is well; 1 answers were wrong or failed, or an objective was missed; 2 the test could not run; 3 the
generator was saturated, or had no connection free, so that nothing is known of the server; 130 Ctrl-C. The worst of several
runs holds.
"""

from datetime import UTC, datetime
from typing import Any

from loadtests import figures
from loadtests.interrupts import current
from loadtests.process import Load
from loadtests.records import ENDED, EXHAUSTED, FAILED
from loadtests.slo import Judged, Objective, judge, unexcused

#: Raised with every change that a reader of old reports must know of.
SCHEMA = 1

GOOD, BAD, COULD_NOT_RUN, INVALID, INTERRUPTED = 0, 1, 2, 3, 130

#: The order in which several verdicts outweigh each other.
_WEIGHT = (GOOD, BAD, INVALID, COULD_NOT_RUN, INTERRUPTED)

Json = dict[str, Any]  # Any: JSON


def run_json(load: Load, label: str, objectives: tuple[Objective, ...], *, turn: int = 0) -> Json:
    """Return one load as a report has it."""
    plan, seen = load.plan, figures.window_of(load)
    judged = judge(objectives, seen)
    generator = figures.generator(load, seen)
    models = sorted({traffic.model for traffic in plan.traffic})
    found: Json = {
        "label": label,
        "round": turn,
        "url": plan.url,
        "load": plan.load,
        "open": plan.open_load,
        "seconds": seen.seconds,
        "warm_up": plan.profile.warm_up,
        "profile": plan.profile.to_json(),
        "totals": figures.figures(seen),
        "noise": figures.noise(seen, changing=plan.profile.changing),
        "traffic": {plan.name(one): figures.figures(seen.of(number)) for number, one in enumerate(plan.traffic)},
        "stages": figures.stage_means(seen),
        "series": figures.series(seen),
        "failures": figures.failures(load, seen),
        "generator": generator,
        "server": load.metrics.to_json(models, seen.start, seen.end),
        "slo": [one.to_json() for one in judged],
        "unexcused": unexcused(tuple(one.objective for one in judged), seen),
        "stopped": load.interrupted or load.stopped,
        "remarks": _remarks(load, generator, seen),
    }
    found["verdict"] = _verdict(load, found, judged)
    return found


def _verdict(load: Load, found: Json, judged: tuple[Judged, ...]) -> int:
    """Return the exit code of one load. A failure is allowed as far as an objective about its kind says so, else not."""
    totals, generator = found["totals"], found["generator"]
    if load.interrupted is not None:
        return INTERRUPTED
    if (load.stopped or "").startswith((EXHAUSTED, ENDED, FAILED)):
        return INVALID
    if not totals["requests"] or load.stopped is not None:
        return BAD
    if generator["never_sent"] and found["unexcused"]:
        return BAD  # what was sent has failed, whatever the rest would have got
    if not all(one.kept for one in judged):
        # A generator that is saturated, or has no connection free, is late itself: an objective that is missed then says
        # nothing of the server.
        return INVALID if generator["saturated"] or generator["stood_in_line"] else BAD
    if found["unexcused"]:
        return BAD
    return INVALID if (generator["saturated"] or generator["never_sent"]) and load.plan.open_load else GOOD


def _remarks(load: Load, generator: Json, seen: figures.Window) -> list[str]:
    """Return what a reader should know before believing the figures."""
    found = []
    if not len(seen.records) and len(load.records):
        found.append(f"{len(load.records):,} requests of the warm-up, which no figure counts, are all that there were")
    if generator["saturated"]:
        found.append(
            f"the generator was saturated: its busiest process used {generator['busy']:.0%} of a core; "
            "latencies are partly its own (--processes helps where there are cores)"
        )
    if generator["starved"]:
        found.append(
            f"the generator was woken late: 5 % of the time by more than {generator['lag_p95_ms']:.3g} ms; "
            "others want the same cores, and latencies hold that"
        )
    if generator["stood_in_line"]:
        found.append(
            f"{generator['stood_in_line']:,} arrivals waited for one of {generator['connections'] or 0:,} connections: "
            "their latencies are partly the generator's (`ulimit -n` more, or --processes)"
        )
    if load.plan.open_load and generator["never_sent"]:
        found.append(f"{generator['never_sent']:,} arrivals were never sent: no connection was free, or the generator late")
    if generator["told_to_wait"]:
        found.append(f"{generator['told_to_wait']:,} times a 429 was honoured: waited, and asked again")
    return found


def of_search(valid: bool, why: str) -> int:
    """Return the exit code of a search for a capacity."""
    return GOOD if valid else INVALID if why.startswith("the generator") else BAD


def assemble(kind: str, *, options: Json, target: Json, environment: Json, runs: list[Json], **more: object) -> Json:
    """Return the whole report. `interrupted`: which signal ended it, and when; None where none did."""
    interrupted = current().heard
    worst = max((run["verdict"] for run in runs), key=_WEIGHT.index, default=GOOD)
    return {
        "schema": SCHEMA,
        "kind": kind,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": options,
        "target": target,
        "environment": environment,
        "runs": runs,
        "exit_code": worst,
        **more,
        "interrupted": interrupted,
        **({} if interrupted is None else {"exit_code": INTERRUPTED}),
    }
