"""Proof that replicas on Ray may die, and versions follow each other, and no client notices: `make ray-test`.

    python -m proofs.replicas [--kills 6] [--swaps 20]

Two replicas of a local Ray answer under load. One is killed (SIGKILL), and when there are two again the other one: what was
with it is computed by its neighbour, so every request has its right answer, one each. Then versions are swapped as
`make swap` does it. Needs what `pip install 'sameway[ray]'` brings.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from proofs import swap, telling, totals
from proofs.load import Outcome, open_load, percentile
from proofs.server import Server, is_running, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

#: Two replicas on a machine of any size.
FLAGS = ("--engine", "ray", "--ray-replicas", "2", "--ray-cpus", "0.1")
#: Requests a second, and how long each waits for company: some are with a replica at any moment.
_RATE = 100.0
_CONFIG = "queue_delay_seconds = 0.02\nqueue_rows = 1024\ntimeout_seconds = 60\n"
#: A replica opens its models anew, on a machine that does other things too.
_BACK_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
#: How a replica calls itself in the list of processes.
_NAME = "ray::ServeReplica:"


def prove_kill(*, kills: int, rate: float = _RATE) -> list[Verdict]:
    """Kill replicas in turn under load, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        telling.publish(root)
        (root / telling.MODEL / "config.toml").write_text(_CONFIG)
        with running(root, *FLAGS) as server:
            try:
                verdicts = asyncio.run(kill_under_load(server, kills=kills, rate=rate))
                left = family(server.process.pid)
                code = server.stop()
            finally:
                if server.process.poll() is None:
                    server.stop()  # a kill would leave it to Ray to notice
    return [
        *verdicts,
        # Here, where requests wait in replicas for company: a kill meets some. Else it may meet none.
        at_least("calls that were with one of them, and went to another", server.logged("call_lost"), 1),
        at_most("exit code", code, 0),
        at_most("processes left behind", sum(map(is_running, left)), 0),
    ]


async def kill_under_load(server: Server, *, kills: int, rate: float) -> list[Verdict]:
    """Kill so many replicas of a running server, one after the other, and return what was found."""
    over, killed = asyncio.Event(), 0
    requests = telling.requests(server.authority)
    load = asyncio.create_task(
        open_load(server.host, server.port, requests, rate=rate, seconds=3600.0, connections=64, until=over.is_set)
    )
    back: list[float] = []
    try:
        for _ in range(kills):
            await asyncio.sleep(_PAUSE_SECONDS)
            back.append(await asyncio.to_thread(_kill_one, server))
            killed += 1
        await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        over.set()
    outcomes = await load
    return _judged(server, outcomes, back)


def replicas(server: Server) -> list[int]:
    """Return the processes of a server's replicas, the oldest first."""
    return [pid for pid in sorted(family(server.process.pid)) if _command(pid).startswith(_NAME)]


def family(pid: int) -> list[int]:
    """Return the processes that a process has started, and that those have started."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(parent, []).append(int(path.name))
    found, more = [], parents.get(pid, [])
    while more:
        found += more
        more = [child for one in more for child in parents.get(one, [])]
    return found


def _kill_one(server: Server) -> float:
    """Kill a replica once there are two, and return after how long there were two again."""
    server.until(lambda: len(replicas(server)) == 2, "complete", seconds=_BACK_SECONDS)
    victim, began = replicas(server)[0], time.monotonic()
    os.kill(victim, signal.SIGKILL)
    server.until(lambda: len(set(replicas(server)) - {victim}) == 2, "complete again", seconds=_BACK_SECONDS)
    return time.monotonic() - began


def _judged(server: Server, outcomes: Sequence[Outcome], back: Sequence[float]) -> list[Verdict]:
    good = [outcome for outcome in outcomes if outcome.good]
    failed = Counter(f"{one.kind}: {one.status or 'no answer'}" for one in outcomes if not one.good)
    counted = totals.ended(totals.at_rest(server), telling.MODEL)
    return [
        at_least("requests", len(outcomes), 1),
        at_least("replicas killed", len(back), 1),
        none_of("requests failed, or answered wrongly", [f"{count} × {what}" for what, count in failed.items()]),
        Verdict("answers counted", f"{counted['ok', '']}", f"= {len(good)}", counted["ok", ""] == len(good)),
        at_most("counted otherwise", counted.total() - counted["ok", ""], 0),
        told("until there were two again, at most", max(back), " s"),
        told("p99 of answers", percentile((one.seconds for one in good), 99) * 1000, " ms"),
        none_of("errors in the server's log", server.errors()),
    ]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def main() -> int:
    """Print what was found; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6, help="replicas killed, one after the other (6)")
    parser.add_argument("--swaps", type=int, default=20, help="swaps, at least 10 (20)")
    arguments = parser.parse_args()
    kill = prove_kill(kills=arguments.kills)
    print("a replica is killed", table(kill), sep="\n", flush=True)
    swapped = swap.prove("fastapi", workers=1, swaps=arguments.swaps, spoiled=arguments.swaps // 5, rate=100.0, more=FLAGS)
    print("versions are swapped", table(swapped), sep="\n", flush=True)
    return max(exit_code(kill), exit_code(swapped))


if __name__ == "__main__":
    sys.exit(main())
