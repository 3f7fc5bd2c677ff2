"""Proof of G8, `make drain`: SIGTERM under load fails nobody who was accepted.

    python -m proofs.drain [--stops 10] [--frontend fastapi] [--workers 1]

**Accepted** is a request whose connection was: whoever got a connection gets an answer, on a new one as on one that was
kept alive. Not accepted is only who was refused a connection because nobody listens any more, and that not before the drain
delay is over, in which the server says that it is going to leave, by /v2/health/ready and with each answer by
`connection: close`. Clients are as real ones: they keep connections alive, honour `connection: close`, and retry nothing.

Open load at 500 requests a second; some twenty of them are with the server at any moment. Each stop has a server of its own.
"""

import argparse
import asyncio
import itertools
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proofs import telling
from proofs.load import Outcome, open_load
from proofs.overload import FRONTENDS
from proofs.server import Server, is_running
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

#: The default of the server.
_DELAY_SECONDS = 1.0
#: The longest a request may be accepted for. Requests wait for company so long that some are always under way.
#: The queue is long: whoever closes and opens many connections at once on a busy machine shall not be refused by it.
CONFIG = "timeout_seconds = 5\nqueue_delay_seconds = 0.05\nqueue_rows = 1024\n"
_DEADLINE_SECONDS = 5.0
#: Load before the signal, and for at most how long after it.
_BEFORE_SECONDS, _AFTER_SECONDS = 1.0, 20.0
#: Whoever is refused has asked after the listener closed, which happens at a tick of the server's clock, ten a second.
_TICK_SECONDS = 0.1
#: How often it is looked whether processes still run.
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop: when the signal was sent (monotonic), how long the server took, its exit code, and what became of all."""

    at: float
    seconds: float
    code: int
    outcomes: Sequence[Outcome]
    errors: Sequence[str]

    @property
    def accepted(self) -> list[Outcome]:
        """Those that were not refused for the reason that a server may have."""
        allowed = self.at + _DELAY_SECONDS - _TICK_SECONDS
        return [outcome for outcome in self.outcomes if not (outcome.refused and outcome.ended > allowed)]

    @property
    def under_way(self) -> int:
        """How many were with the server when the signal came."""
        return sum(outcome.sent <= self.at <= outcome.ended for outcome in self.outcomes if not outcome.refused)

    @property
    def late(self) -> int:
        """How many were sent when the signal had come, and accepted."""
        return sum(outcome.sent > self.at for outcome in self.accepted)


def prove(frontend: str, *, workers: int, stops: int, rate: float = 500.0) -> list[Verdict]:
    """Stop so many servers under load, and return what was found."""
    found = [stop(frontend, signal.SIGTERM, workers=workers, rate=rate, seed=number) for number in range(stops)]
    exits = at_most("exit codes other than 0", sum(one.code != 0 for one in found), 0)
    return [*judged(found), exits, none_of("errors in the servers' logs", [line for one in found for line in one.errors])]


def judged(found: Sequence[Stop]) -> list[Verdict]:
    """Return the verdicts on what became of requests and processes."""
    accepted = [outcome for one in found for outcome in one.accepted]
    failed = Counter(
        f"{outcome.kind}: {outcome.status or 'no answer'} {outcome.ended - one.at:.2f} s after the signal"
        for one in found
        for outcome in one.accepted
        if not outcome.good
    )
    return [
        told("requests accepted", len(accepted)),
        told("not accepted, as nobody listened any more", sum(len(one.outcomes) for one in found) - len(accepted)),
        # Else the signal met nobody.
        at_least("under way at the signal, the fewest", min(one.under_way for one in found), 1),
        at_least("accepted after the signal, the fewest", min(one.late for one in found), 1),
        none_of("accepted requests that failed", [f"{count} × {what}" for what, count in failed.items()]),
        at_most("longest stop", max(one.seconds for one in found), _DELAY_SECONDS + _DEADLINE_SECONDS, " s"),
    ]


def stop(frontend: str, number: signal.Signals, *, workers: int, rate: float, seed: int = 0) -> Stop:
    """Run a server under load, send it a signal, and return once all its processes have ended."""
    with tempfile.TemporaryDirectory() as folder:
        telling.publish(Path(folder))
        (Path(folder) / telling.MODEL / "config.toml").write_text(CONFIG)
        server = Server.start(Path(folder), "--workers", str(workers), frontend=frontend)
        try:
            server.ready()
            server.until(lambda: server.logged("loaded") == workers, "loaded by every worker")
            return asyncio.run(_stopped(server, number, rate=rate, seed=seed))
        finally:
            if server.process.poll() is None:
                server.kill()


async def _stopped(server: Server, number: signal.Signals, *, rate: float, seed: int) -> Stop:
    requests = telling.requests(server.url.removeprefix("http://"), seed=seed)
    pids, gone = server.pids(), asyncio.Event()
    load = asyncio.create_task(
        open_load(
            server.host, server.port, requests, rate=rate, seconds=_BEFORE_SECONDS + _AFTER_SECONDS, connections=256,
            seed=seed, until=gone.is_set,
        )
    )  # fmt: skip
    await asyncio.sleep(_BEFORE_SECONDS)
    at = time.monotonic()
    server.process.send_signal(number)
    while any(is_running(pid) for pid in pids) and time.monotonic() < at + _AFTER_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - at
    gone.set()
    return Stop(at, seconds, await asyncio.to_thread(server.wait), await load, server.errors())


def main() -> int:
    """Print what was found on each front end; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=10, help="stops of each kind (10)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    parser.add_argument("--workers", type=int, action="append", help="only so many workers; default 1, and then 2")
    arguments = parser.parse_args()
    code = 0
    for frontend, workers in itertools.product(arguments.frontend or FRONTENDS, arguments.workers or (1, 2)):
        verdicts = prove(frontend, workers=workers, stops=arguments.stops)
        print(f"drain, {frontend}, {workers} worker{'s' * (workers > 1)}", table(verdicts), sep="\n", flush=True)
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
