"""Proof of G6, `make overload`: at three times its capacity a server answers nearly as many requests as at its best.

    python -m proofs.overload [--seconds 20] [--frontend fastapi]

Closed load finds the capacity. Then open load at three times of it, once by requests that have all the time in the world,
so that the queue's length decides who is let in, and once by requests whose time is shorter than the full queue, so that
the estimated wait decides. Then half the capacity, to see how soon all is well again. Batches take 20 ms, so that clients
and server share two cores without either of them being the limit.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proofs import models
from proofs.load import Outcome, closed_load, open_load, percentile
from proofs.server import Server, machine_cpu_seconds, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, table

FRONTENDS = ("fastapi", "flask")

_BATCH_ROWS = 4
#: The default: four full batches.
_QUEUE_ROWS = 4 * _BATCH_ROWS
#: A batch of four takes 20 ms.
_ROW_SECONDS = 0.005
#: Three batches' worth: one runs, one waits, and one is on its way.
_CLIENTS = 3 * _BATCH_ROWS


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must hold; the defaults are the promise, on a machine that does nothing else."""

    goodput: float = 0.9
    refusal_seconds: float = 0.05
    #: The 99th percentile of answers: the queue's own time, and so many batches.
    batches: float = 3.0
    recovery_seconds: float = 5.0
    #: Share of those let in whose time passed nevertheless.
    late: float = 0.1


@dataclass(frozen=True, slots=True)
class Capacity:
    """What closed load has found: right answers per second, and how long a full batch takes."""

    rate: float
    batch_seconds: float

    @property
    def queue_seconds(self) -> float:
        """How long the full queue takes to be served."""
        return _QUEUE_ROWS / self.rate


def prove(frontend: str, *, seconds: float, bounds: Bounds) -> list[Verdict]:
    """Overload a server of its own for so long, half of it each way, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        version = models.publish(Path(folder), batch_rows=_BATCH_ROWS, queue_rows=_QUEUE_ROWS)
        units = max(1, round(_ROW_SECONDS / models.unit_seconds(version)))
        with running(Path(folder), frontend=frontend) as server:
            verdicts = asyncio.run(_overload(server, units, seconds=seconds, bounds=bounds))
            errors = server.errors()
            code = server.stop()
    verdicts.append(at_most("errors in the server's log", len(errors), 0))
    verdicts.append(at_most("exit code", code, 0))
    return verdicts


async def _overload(server: Server, units: int, *, seconds: float, bounds: Bounds) -> list[Verdict]:
    began, used, machine, own = time.monotonic(), server.cpu_seconds(), machine_cpu_seconds(), time.process_time()
    calibration = max(1.0, seconds / 6)

    async def send(rate: float, for_seconds: float, timeout: float | None = None) -> list[Outcome]:
        load = models.requests(server.authority, units=units, timeout_seconds=timeout)
        return await open_load(server.host, server.port, load, rate=rate, seconds=for_seconds)

    before = await _capacity(server, units, seconds=calibration)
    # What the model alone could do counts too: a moment in which the machine was busy must not make this no overload.
    rate = 3 * max(before.rate, 1 / _ROW_SECONDS)
    full = await send(rate, seconds / 2)
    # Longer than two batches, so that it can be kept, and shorter than the queue, so that it is what decides.
    timeout = before.queue_seconds / 2 + 2 * before.batch_seconds
    short = await send(rate, seconds / 2, timeout)
    calm = await send(before.rate / 2, max(3.0, seconds / 3))
    after = await _capacity(server, units, seconds=calibration)
    others = machine_cpu_seconds() - machine - (server.cpu_seconds() - used) - (time.process_time() - own)
    # The best there is on this machine, which may be giving more or less of itself than a minute ago.
    capacity = Capacity((before.rate + after.rate) / 2, after.batch_seconds)
    allowed = capacity.queue_seconds + bounds.batches * capacity.batch_seconds
    batch = f"a batch of {_BATCH_ROWS} in {capacity.batch_seconds * 1000:.1f} ms"
    cores = others / (time.monotonic() - began)
    return [
        Verdict("capacity", f"{capacity.rate:.0f}/s", batch, True),
        Verdict("cores that others used meanwhile", f"{cores:.2f}", "the promise is for a quiet machine", True),
        *_judged("full queue", full, capacity, seconds=seconds / 2, allowed=allowed, bounds=bounds),
        *_judged("short time", short, capacity, seconds=seconds / 2, allowed=allowed, bounds=bounds),
        at_most("recovery", _recovery_seconds(calm, allowed), bounds.recovery_seconds, " s"),
    ]


async def _capacity(server: Server, units: int, *, seconds: float) -> Capacity:
    """Return what the server does at its best."""
    load = models.requests(server.authority, units=units)
    outcomes = await closed_load(server.host, server.port, load, clients=_CLIENTS, seconds=seconds)
    good = sum(outcome.good for outcome in outcomes)
    batches = [one for one in server.statistics(models.MODEL)["batch_stats"] if one["batch_size"] == _BATCH_ROWS]
    stages = [batches[0][stage] for stage in ("compute_input", "compute_infer", "compute_output")]
    return Capacity(good / seconds, sum(stage["ns"] / stage["count"] for stage in stages) / 1e9)


def _judged(
    phase: str, outcomes: Sequence[Outcome], capacity: Capacity, *, seconds: float, allowed: float, bounds: Bounds
) -> list[Verdict]:
    """Return the verdicts on one overload: `allowed` is what the 99th percentile of answers may take."""
    good = [outcome for outcome in outcomes if outcome.good]
    refused = [outcome for outcome in outcomes if outcome.status == 429]
    late = [outcome for outcome in outcomes if outcome.status == 504]
    told = sum(outcome.retry_after is not None and outcome.retry_after >= 1 for outcome in refused)
    return [
        Verdict(f"{phase}: sent", f"{len(outcomes) / seconds:.0f}/s", f"{len(refused)} refused", bool(refused)),
        at_least(f"{phase}: goodput of the capacity", len(good) / seconds / capacity.rate, bounds.goodput),
        at_most(f"{phase}: p99 of refusals", _p99_ms(refused), bounds.refusal_seconds * 1000, " ms"),
        at_least(f"{phase}: refusals with Retry-After", told / max(1, len(refused)), 1.0),
        at_most(f"{phase}: p99 of answers", _p99_ms(good), allowed * 1000, " ms"),
        at_most(f"{phase}: let in, and late", len(late) / max(1, len(late) + len(good)), bounds.late),
        at_most(f"{phase}: lost, wrong, or another error", len(outcomes) - len(good) - len(refused) - len(late), 0),
    ]


def _recovery_seconds(calm: Sequence[Outcome], allowed: float) -> float:
    """Return after how long a whole second began in which every request was answered in time; infinite where none did."""
    ordered = sorted(calm, key=lambda outcome: outcome.meant)
    began, last = ordered[0].meant, ordered[-1].meant
    start = began
    for outcome in ordered:
        if outcome.meant > start + 1.0:
            break
        if not outcome.good or outcome.seconds > allowed:
            start = outcome.meant
    return start - began if start + 1.0 <= last else math.inf


def _p99_ms(outcomes: Sequence[Outcome]) -> float:
    return percentile((outcome.seconds for outcome in outcomes), 99) * 1000


def main() -> int:
    """Print what was found on each front end; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the overload (20)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    arguments = parser.parse_args()
    code = 0
    for frontend in arguments.frontend or FRONTENDS:
        verdicts = prove(frontend, seconds=arguments.seconds, bounds=Bounds())
        print(f"overload, {frontend}", table(verdicts), sep="\n")
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
