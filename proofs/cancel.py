"""Proof of G7, `make cancel`: nobody computes what nobody waits for any more.

    python -m proofs.cancel [--rounds 20] [--frontend fastapi]

In each round one long request keeps the only session busy. Behind it wait victims: half of the rounds' hang up, the others'
time passes. All of that is over before the long request is; a probe then goes the same way as they would have gone. The
rows that the session has computed are counted by the server's own statistics, and those answered by the client: the
difference is work that was done for nobody.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from proofs import models
from proofs.load import Outcome, burst
from proofs.overload import FRONTENDS
from proofs.server import Server, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, table

_BATCH_ROWS = 4
#: More than the victims of a round, so that all of them are let in.
_QUEUE_ROWS = 64
_VICTIMS = 32

#: The long request; the moment at which the victims follow it; how long they wait. Far enough apart for a machine that is
#: busy with other things: a round in which it was slower than that is repeated, see _Round.valid.
_LONG_SECONDS, _FOLLOW_SECONDS, _WAIT_SECONDS = 0.5, 0.05, 0.15

#: Short requests before each round, so that the estimated wait is a short one and lets the victims in.
_SHORT = 8

#: Rounds that the machine was too slow for, at most so many times those asked for.
_ATTEMPTS = 3


@dataclass(slots=True)
class _Round:
    """What one round has found."""

    victims: list[Outcome]
    #: When the long request was answered, and whether everybody else who waited for an answer got it.
    long: Outcome
    probes: list[Outcome]
    executed: int

    @property
    def valid(self) -> bool:
        """Whether all victims had given up well before the session was free for them: by a fifth of the long request."""
        return self.long.good and max(one.ended for one in self.victims) < self.long.ended - _LONG_SECONDS / 5

    @property
    def wasted(self) -> int:
        """Rows computed for nobody."""
        return self.executed - sum(one.good for one in [*self.victims, self.long, *self.probes])


@dataclass(slots=True)
class _Tally:
    """What all valid rounds of one kind have found."""

    rounds: int = 0
    repeated: int = 0
    let_in: int = 0
    wasted: int = 0
    unanswered: int = 0
    endings: dict[int, int] = field(default_factory=dict)
    overdue_seconds: float = 0.0


def prove(frontend: str, *, rounds: int) -> list[Verdict]:
    """Let victims of both kinds wait in vain, so many rounds of each; return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        version = models.publish(Path(folder), batch_rows=_BATCH_ROWS, queue_rows=_QUEUE_ROWS)
        units = round(_LONG_SECONDS / models.unit_seconds(version))
        with running(Path(folder), frontend=frontend) as server:
            left = asyncio.run(_tally(server, units, rounds=rounds, hang_up=True))
            expired = asyncio.run(_tally(server, units, rounds=rounds, hang_up=False))
            errors, code = server.errors(), server.stop()
    return [
        *_judged("client left", left, rounds),
        *_judged("time passed", expired, rounds),
        at_least("time passed: answered 504", expired.endings.get(504, 0) / max(1, expired.let_in), 1.0),
        # Not promised: it is a front end's timer, which rings for all victims of a round at once.
        Verdict("time passed: the last 504", f"{expired.overdue_seconds * 1000:.0f} ms", "after its deadline", True),
        at_most("errors in the server's log", len(errors), 0),
        at_most("exit code", code, 0),
    ]


def _judged(kind: str, tally: _Tally, rounds: int) -> list[Verdict]:
    return [
        at_least(f"{kind}: rounds ({tally.repeated} repeated)", tally.rounds, rounds),
        # Else nothing has been proved: nobody has waited in vain.
        at_least(f"{kind}: let in of {tally.rounds * _VICTIMS}", tally.let_in, tally.rounds * _VICTIMS / 2),
        at_most(f"{kind}: rows computed for nobody", tally.wasted, 0),
        at_most(f"{kind}: others without their answer", tally.unanswered, 0),
    ]


async def _tally(server: Server, units: int, *, rounds: int, hang_up: bool) -> _Tally:
    """Run rounds of one kind until so many were valid, or too many were not."""
    tally = _Tally()
    while tally.rounds < rounds and tally.repeated < _ATTEMPTS * rounds:
        one = await _round(server, units, hang_up=hang_up)
        if not one.valid:
            tally.repeated += 1
            continue
        tally.rounds += 1
        tally.let_in += sum(victim.left or victim.status == 504 for victim in one.victims)
        tally.wasted += one.wasted
        tally.unanswered += sum(not probe.good for probe in one.probes)
        for victim in one.victims:
            tally.endings[victim.status] = tally.endings.get(victim.status, 0) + 1
            if victim.status == 504:
                tally.overdue_seconds = max(tally.overdue_seconds, victim.seconds - _WAIT_SECONDS)
    return tally


async def _round(server: Server, units: int, *, hang_up: bool) -> _Round:
    """Let victims wait behind a long request, and see what is computed."""
    host = server.authority
    before = await asyncio.to_thread(server.executed_rows, models.MODEL)
    probes: list[Outcome] = []
    for number in range(_SHORT):
        probes += await burst(server.host, server.port, [models.request(host, units=1, name=1 + number)])
    long = asyncio.create_task(burst(server.host, server.port, [models.request(host, units=units, name=100)]))
    await asyncio.sleep(_FOLLOW_SECONDS)
    timeout, leaves = (None, _WAIT_SECONDS) if hang_up else (_WAIT_SECONDS, None)
    victims = await burst(
        server.host,
        server.port,
        [
            models.request(host, units=1, name=200 + number, timeout_seconds=timeout, hangs_up_seconds=leaves)
            for number in range(_VICTIMS)
        ],
    )
    (answer,) = await long
    probes += await burst(server.host, server.port, [models.request(host, units=1, name=300)])
    # The statistics are written before the answer is sent, so they are complete now.
    after = await asyncio.to_thread(server.executed_rows, models.MODEL)
    return _Round(victims, answer, probes, after - before)


def main() -> int:
    """Print what was found on each front end; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each kind (20)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    arguments = parser.parse_args()
    code = 0
    for frontend in arguments.frontend or FRONTENDS:
        verdicts = prove(frontend, rounds=arguments.rounds)
        print(f"cancel, {frontend}", table(verdicts), sep="\n")
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
