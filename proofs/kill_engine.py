"""Part of `make kill`: the engine that several front ends share is killed under load.

What was with it, and what comes before another has taken its place, is answered 503 with Retry-After. No connection is
lost, no front end ends, and what clients have seen is what is counted, to the request.
"""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from proofs import telling, totals
from proofs.load import Outcome, open_load
from proofs.server import Server, running
from proofs.verdict import Verdict, at_least, at_most, none_of, told

#: Requests a second, and for how long requests wait for company: some are with the engine at any moment.
_RATE = 200.0
_CONFIG = "queue_delay_seconds = 0.02\nqueue_rows = 1024\n"
#: How long an answer that says 503 may be on its way when the engine is back.
_LATE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Gap:
    """A time without an engine: from its end to the readiness of the next one (monotonic)."""

    began: float
    ended: float

    def explains(self, outcome: Outcome) -> bool:
        """Tell whether a request could not be answered because of it."""
        return self.began <= outcome.ended <= self.ended + _LATE_SECONDS


def prove_engine(frontend: str, *, kills: int, pause_seconds: float, back_seconds: float = 5.0) -> list[Verdict]:
    """Kill engines one after the other under load, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        telling.publish(Path(folder))
        (Path(folder) / telling.MODEL / "config.toml").write_text(_CONFIG)
        with running(Path(folder), "--frontends", "2", frontend=frontend) as server:
            server.until(lambda: server.logged("listening") == 2, "complete")
            before = server.started("frontend")
            gaps, outcomes = asyncio.run(_kill(server, kills=kills, pause_seconds=pause_seconds))
            samples = totals.at_rest(server)
            same = server.started("frontend") == before
            code = server.stop()
    good = sum(one.good for one in outcomes)
    waited = [one for one in outcomes if one.status == 503 and one.retry_after is not None]
    others = Counter(f"{one.kind}: {one.status or 'lost'}" for one in outcomes if not one.good and one not in waited)
    counted = totals.ended(samples, telling.MODEL)
    found = counted["ok", ""], counted.total() - counted["ok", ""]
    seen = good, len(waited)
    return [
        told("requests", len(outcomes)),
        at_least("engines killed", len(gaps), kills),
        told("answered 503 with Retry-After", len(waited)),
        at_most("of them while an engine was there", sum(not any(gap.explains(one) for gap in gaps) for one in waited), 0),
        none_of("wrong, lost, or another error", [f"{count} × {what}" for what, count in others.items()]),
        Verdict("the front ends", "the same" if same else "others", "the same", same),
        at_most("until an engine was ready again, at most", max(gap.ended - gap.began for gap in gaps), back_seconds, " s"),
        Verdict("counted: answered, and not", f"{found}", f"= {seen}", found == seen),
        at_most("exit code", code, 0),
    ]


async def _kill(server: Server, *, kills: int, pause_seconds: float) -> tuple[list[_Gap], list[Outcome]]:
    over = asyncio.Event()
    load = asyncio.create_task(
        open_load(
            server.host, server.port, telling.requests(server.authority), rate=_RATE, seconds=3600.0, connections=64,
            until=over.is_set,
        )
    )  # fmt: skip
    gaps = []
    try:
        for _ in range(kills):
            await asyncio.sleep(pause_seconds)
            gaps.append(await asyncio.to_thread(_kill_one, server))
        await asyncio.sleep(_LATE_SECONDS)
    finally:
        over.set()
    return gaps, await load


def _kill_one(server: Server) -> _Gap:
    """Kill the engine, and wait for another that is ready."""
    (engine,) = server.started("engine")
    noticed, loaded, began = server.logged("engine_gone"), server.logged("loaded"), time.monotonic()
    os.kill(engine, signal.SIGKILL)
    server.until(lambda: server.logged("engine_gone") == noticed + 2, "noticed")
    server.until(lambda: server.logged("loaded") > loaded, "complete again")
    server.ready()
    return _Gap(began, time.monotonic())
