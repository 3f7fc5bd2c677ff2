"""From options to loads: one, or the variants of a scenario in turns, or the two servers that are compared."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loadtests import options, process, report, search, slo
from loadtests.bodies import Sample
from loadtests.calibration import Speed, calibrate
from loadtests.figures import failures, figures, window_of
from loadtests.interrupts import current
from loadtests.options import Options
from loadtests.plan import Plan, Traffic
from loadtests.prepare import prepare
from loadtests.server import CannotRun, Server
from loadtests.shapes import make

Samples = Mapping[str, list[Sample]]

#: How a multiple of what a server carries is found: so many users without a pause, for so long.
_PROBE_USERS, _PROBE_SECONDS = 16, 3.0

#: A server that was overloaded goes on with what it had accepted, which neither calibration nor next trial is to meet.
_SETTLE_SECONDS = 1.0


def headers(asked: Options) -> dict[str, str]:
    """Return the headers that show the key, if there is one."""
    if asked.key_file is None:
        return {}
    try:
        key = Path(asked.key_file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise CannotRun(f"key-file: expected a file with an API key, found {asked.key_file}: {error}") from error
    if not key or not key.isascii() or not key.isprintable():
        # Without a word of what is in it: this is printed, and goes into reports.
        raise CannotRun(f"key-file: expected one line of printable ASCII, found something else in {asked.key_file}")
    return {"authorization": f"Bearer {key}"}


def objectives(asked: Options) -> tuple[slo.Objective, ...]:
    """Return the objectives; raise SloError."""
    return () if asked.slo is None else slo.parse(asked.slo)


def prepared(server: Server, asked: Options) -> tuple[tuple[Traffic, ...], dict[str, list[Sample]]]:
    """Return what is asked, and the samples."""
    repository = None if asked.repository is None else Path(asked.repository)
    return prepare(server, asked.model, asked.payload, repository=repository)


def all_of(
    asked: Options, server: Server, traffic: tuple[Traffic, ...], samples: Samples, wanted: tuple[slo.Objective, ...],
    speeds: list[Speed],
) -> list[report.Json]:  # fmt: skip
    """Run every variant as often as there are rounds, in turns, and return them as a report has them."""
    found: list[report.Json] = []
    interrupts = current()
    with interrupts.listening():
        turns = list(_turns(asked, server, traffic, samples))
    for number, (label, variant, whom, kinds, rows) in enumerate(turns):
        if number:
            speeds.append(calibrate())
        if interrupts.heard is not None:
            break
        mine, turn = variant, number * asked.rounds // len(turns)
        if isinstance(variant.rate, str):
            probe = _probe(variant, whom, kinds, rows)
            if probe.interrupted is not None:
                found.append(report.run_json(probe, f"{label}: the probe of what {variant.rate} is", (), turn=turn))
                break
            mine = dataclasses.replace(variant, rate=_carried(probe, variant) * float(variant.rate.removesuffix("x")))
        load = _load(mine, whom, kinds, rows)
        found.append(report.run_json(load, label, wanted, turn=turn))
        if load.interrupted is not None:
            break
    return found


def _turns(
    asked: Options, server: Server, traffic: tuple[Traffic, ...], samples: Samples
) -> Iterator[tuple[str, Options, Server, tuple[Traffic, ...], Samples]]:
    """Yield who is asked what, and when: within a round all variants in a row, in every other round backwards."""
    sides: list[tuple[str, Options, Server, tuple[Traffic, ...], Samples]] = []
    servers = {server.url: server}
    if asked.against is not None:
        other = dataclasses.replace(server, url=asked.against.rstrip("/"))
        servers[other.url] = other
    for url, whom in servers.items():
        for variant in asked.variant or ({"label": asked.scenario or "load"},):
            mine = options.varied(asked, variant)
            kinds, rows = (traffic, samples) if mine == asked and whom is server else prepared(whom, mine)
            label = (
                str(variant["label"]) if len(servers) == 1 else url if not asked.variant else f"{variant['label']}, {url}"
            )
            sides.append((label, mine, whom, kinds, rows))
    for number in range(asked.rounds):
        yield from sides if number % 2 == 0 else reversed(sides)


def plan_of(asked: Options, server: Server, traffic: tuple[Traffic, ...]) -> Plan:
    """Return the plan of a load."""
    level = float(asked.users if asked.rate is None else asked.rate)
    profile = make(asked.shape, level, asked.duration, warm_up=asked.warm_up, factor=asked.factor, steps=asked.steps)
    return Plan(
        server.url,
        traffic,
        profile,
        open_load=asked.rate is not None,
        poisson=asked.arrivals == "poisson",
        seed=asked.seed,
        timeout_seconds=asked.timeout,
        honour_retry_after=asked.honour_retry_after,
        processes=asked.processes,
        headers=dict(server.headers),
        ca=server.ca,
    )


def _load(asked: Options, server: Server, traffic: tuple[Traffic, ...], samples: Samples) -> process.Load:
    plan = plan_of(asked, server, traffic)
    words = f"{plan.load} for {asked.duration:g} s"
    page = "" if asked.web is None else f"; Locust's page: http://127.0.0.1:{asked.web}"
    print(f"{words}{page} …", file=sys.stderr, flush=True)  # noqa: T201 - progress, as from the generator
    return process.run(plan, samples, server, web_port=asked.web)


def capacity_of(
    asked: Options, server: Server, traffic: tuple[Traffic, ...], samples: Samples, wanted: tuple[slo.Objective, ...]
) -> search.Found:
    """Search the largest rate that keeps the objectives; it begins at --rate, or at half of what users carry."""
    first = asked.rate
    if not isinstance(first, float):
        times = 0.5 if first is None else float(first.removesuffix("x"))
        probe = _probe(asked, server, traffic, samples)
        if probe.interrupted is not None:
            return search.Found([], None, probe.interrupted, [], probe.interrupted, probe, "the probe of where to begin")
        first = times * _carried(probe, asked)
    limit = slo.latency_limit(wanted)
    # Whoever has waited ten times too long need not be waited for: a trial that fails shall not take minutes.
    timeout = asked.timeout if limit is None else min(asked.timeout, max(1.0, 10 * limit))
    plan = plan_of(dataclasses.replace(asked, rate=first, timeout=timeout), server, traffic)
    budget = search.Budget(asked.trial, asked.warm_up, asked.trials, asked.precision)

    def trial(planned: Plan) -> process.Load:
        return process.run(planned, samples, server, progress=False)

    def settle() -> None:
        with current().listening():
            time.sleep(_SETTLE_SECONDS)

    return search.find(trial, plan, wanted, budget, first=first, settle=settle)


def _probe(asked: Options, server: Server, traffic: tuple[Traffic, ...], samples: Samples) -> process.Load:
    """Ask the server by users who never pause, to see what it carries."""
    changes: dict[str, Any] = {"rate": None, "users": _PROBE_USERS, "shape": "steady", "duration": _PROBE_SECONDS}
    return _load(dataclasses.replace(asked, **changes), server, traffic, samples)


def _carried(probe: process.Load, asked: Options) -> float:
    """Return how many right answers per second a probe got; raise CannotRun for none."""
    seen = window_of(probe)
    carried = figures(seen)["goodput"]
    if not carried:
        told = "; ".join(f"{one['count']} × {one['told']}: {one['examples'][0]}" for one in failures(probe, seen)[:1])
        wanted = f"wanted {asked.rate}" if asked.rate else "to begin the search at"
        raise CannotRun(f"rate: expected a server that carries something, {wanted}; found no right answer ({told})")
    return float(carried)
