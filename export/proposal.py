"""A model configuration for this machine, from what was measured: which format, how many instances of how many threads.

A proposal, with its figures in the comments: a person reads it, and `sameway loadtest` shows what the whole server carries.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.profile import job, thread_counts
from export.timed import NotMeasured, started
from export.version_path import VersionPath
from models.profiles import NOTABLE, PREFERENCE, Profile, fastest
from models.repository import CONFIG, TRITON_CONFIG, ModelVersion

#: How long rows may wait for the sessions to get at them when the queue is full.
WAIT_SECONDS = 0.25
#: Each instance holds the model once more, so there is a limit to what is tried.
_MOST_INSTANCES = 8
#: Of the memory that is free: the rest is for whoever else is here.
_MEMORY_SHARE = 0.5
#: The limit that a model configuration has for `queue_rows`.
_MOST_QUEUE_ROWS = 1_000_000
#: Turns that each plan has, of so many seconds.
_TURNS, _TURN_SECONDS = 3, 0.2


class NoProposal(Exception):
    """Nothing can be proposed; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A format in so many instances of so many threads, called in batches of so many rows."""

    format: str
    instances: int
    threads: int
    rows: int


def plans(profile: Profile, *, cores: int, free_bytes: int) -> list[Plan]:
    """Return what may be the best: for each number of threads its fastest format, once, and as often as cores allow.

    They are tried side by side, so a plan is left out where all of them would take more than half of the free memory.
    """
    taken = 0
    found: list[Plan] = []
    formats = [format for format in PREFERENCE if any(one.format == format for one in profile.formats)]
    for threads in thread_counts(cores):
        format = fastest(profile, formats, threads=threads)
        measured = next((one for one in profile.formats if one.format == format), None)
        measurement = None if measured is None else measured.within(threads)
        if format is None or measurement is None:
            continue
        often = dict.fromkeys((1, min(_MOST_INSTANCES, cores // threads)))
        for instances in often:
            taken += (needed := measurement.peak_bytes + (instances - 1) * measurement.session_bytes)
            if taken > free_bytes * _MEMORY_SHARE:
                taken -= needed
                continue
            found.append(Plan(format, instances, threads, measurement.best.rows))
    return found


def compare(place: VersionPath, version: ModelVersion, tried: Sequence[Plan]) -> dict[Plan, float]:
    """Return rows per second of each plan, measured in turns; one that could not be measured is left out."""
    jobs = [job(place, version, plan.format, threads=plan.threads, instances=plan.instances) for plan in tried]
    rates: dict[Plan, float] = {}
    with started(jobs) as timed:
        taken: dict[Plan, list[list[float]]] = {}
        for turn in range(_TURNS + 1):
            for plan, one in zip(tried, timed, strict=True):
                try:
                    if turn == 0:  # opening, and calls that are forgotten
                        one.ready()
                        taken[plan] = [[] for _ in one.run(plan.rows, seconds=_TURN_SECONDS, calls=5)]
                    elif plan in taken:
                        for all_calls, more in zip(taken[plan], one.run(plan.rows, seconds=_TURN_SECONDS), strict=True):
                            all_calls.extend(more)
                except NotMeasured:
                    taken.pop(plan, None)
        for plan, instances in taken.items():
            rates[plan] = sum(max(1, plan.rows) / float(np.median(calls)) for calls in instances)
    return rates


def choose(rates: Mapping[Plan, float]) -> Plan:
    """Return the plan with the most rows per second; of those within 5 % of it the one with the fewest threads in all.

    What it leaves free the server has for HTTP. Raise NoProposal where no plan was measured.
    """
    if not rates:
        raise NoProposal(
            "none of the formats that are opened unless configured could be measured in the memory that is free"
        )
    most = max(rates.values())
    near = [plan for plan, rate in rates.items() if rate >= most * (1 - NOTABLE)]
    return min(near, key=lambda plan: (plan.instances * plan.threads, plan.instances))


def text(profile: Profile, name: str, max_batch_size: int, rates: Mapping[Plan, float]) -> str:
    """Return the configuration as TOML, the reasons in comments; raise NoProposal."""
    plan = choose(rates)
    rate = rates[plan]
    full = 4 * max(1, max_batch_size)
    waiting = min(_MOST_QUEUE_ROWS, max(full, math.ceil(rate * WAIT_SECONDS)))
    others = [
        f"{one.format} {measurement.best.rows_per_second:,.0f}"
        for one in profile.formats
        if one.format in PREFERENCE and (measurement := one.within(plan.threads)) is not None
    ]
    tried = [
        f"#   {other.format}, {other.instances} × {other.threads}{f', in batches of {other.rows}' if other.rows else ''}: "
        f"{found:,.0f} rows/s"
        for other, found in rates.items()
    ]
    facts = [
        (f'format = "{plan.format}"', f"rows/s of one session of {plan.threads}: {', '.join(others)}"),
        (f"instances = {plan.instances}", "times threads: no more than the cores there are"),
        (f"threads = {plan.threads}", "within one session"),
        ("queue_delay_seconds = 0", "an idle instance takes what there is; under load batches fill by themselves"),
        (f"queue_rows = {waiting}", f"{rate:,.0f} rows/s × {WAIT_SECONDS:g} s, and four full batches ({full}) at least"),
    ]
    width = max(len(fact) for fact, _ in facts)
    return "\n".join(
        [
            f"# Proposed by `sameway profile` for {name} sha256:{profile.digest:.12}, measured {profile.measured}",
            f"# on {profile.machine}. Instances × threads:",
            *tried,
            "# Sessions alone: HTTP takes processor time too. `sameway loadtest` measures the whole server.",
            *(f"{fact:<{width}}  # {why}" for fact, why in facts),
            "",
        ]
    )


def existing(folder: Path) -> str | None:
    """Return the name of the configuration that a model has, None if it has none."""
    return next((name for name in (CONFIG, TRITON_CONFIG) if (folder / name).exists() or (folder / name).is_symlink()), None)


def write(folder: Path, proposed: str) -> None:
    """Write a model's configuration where there is none; raise OSError, FileExistsError where one has come meanwhile."""
    with (folder / CONFIG).open("x", encoding="utf-8") as file:
        file.write(proposed)
    (folder / CONFIG).chmod(0o644)
