"""One run against one server: its totals before, the plan, its totals after, the verdict."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import uvloop

from tests.ledger import client, ledger, totals
from tests.ledger.client import Settings
from tests.ledger.judge import judge
from tests.ledger.ledger import Ledger
from tests.ledger.plan import Request, plan
from tests.ledger.report import Report


def prove(
    host: str,
    port: int,
    *,
    file: Path,
    seed: int,
    requests: int,
    connections: int = 64,
    refusals: float = 0.0,
    tick: Callable[[Ledger], None] = lambda _: None,
) -> Report:
    """Send a plan of so many requests to a server that serves the tracer, and judge what became of them."""
    settings = Settings(host, port, seed, connections=connections)
    before = totals.read(host, port)
    with uvloop_runner() as runner:
        runner.run(record(settings, plan(seed, requests), requests, file, tick))
    after = totals.settled(host, port)
    since = None if before is None or after is None else after.since(before)
    return judge(ledger.read(file), since, refusals=refusals)


async def record(
    settings: Settings,
    requests: Iterable[Request],
    count: int,
    file: Path,
    tick: Callable[[Ledger], None] = lambda _: None,
) -> None:
    """Send requests and write what becomes of them into a new ledger."""
    with Ledger(file) as writer:
        writer.write("RUN", settings.seed, count, settings.host, settings.port)
        await client.drive(settings, iter(requests), writer, lambda: tick(writer))


def uvloop_runner() -> asyncio.Runner:
    """Return a runner whose event loop, written in C, leaves the server more of the machine."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
