"""Proof of G10, `make kill`: whatever dies, only its own clients notice, and it is replaced.

    python -m proofs.kill [--kills 6] [--frontend fastapi]

**A worker** of two, or **a front end** of two with one engine, is killed under load (stopped first, so that it is known
which connections are its own): only requests on those are lost, each of the others gets its right answer, the port has two
again within 5 seconds, and the counts of the dead are in the totals. **The engine** of two front ends is killed
(kill_engine.py). **The supervisor** is killed: its workers notice, drain as at a stop, and end. **A backend hangs**: that is
reported, what waits for it is answered 503, its process ends with 70 and another takes its place.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
from prometheus_client.samples import Sample

from proofs import drain, graphs, telling, totals
from proofs.kill_engine import prove_engine
from proofs.load import Outcome, Request, burst, open_load, post
from proofs.overload import FRONTENDS
from proofs.server import Server, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

#: Requests a second, and for how long requests wait for company: some are under way at any moment.
_RATE = 200.0
_CONFIG = "queue_delay_seconds = 0.02\nqueue_rows = 1024\n"
#: A worker that lives shorter than ten seconds is replaced with a delay, as one that cannot start. Two take turns.
_PAUSE_SECONDS = 6.0
#: There is one engine, and so nobody that it could take turns with.
_ENGINE_PAUSE_SECONDS = 11.0
#: By when the kernel has reset the connections of a process that was killed.
_RESET_SECONDS = 1.0

#: When a batch is taken to hang, and how long after that its process ends.
_HANGS_SECONDS, _EXITS_SECONDS = 0.5, 1.5
_FOREVER = 10**15


@dataclass(frozen=True, slots=True)
class _Kill:
    """A worker's end: when (monotonic), the clients' ports it had, and after how long there were two again."""

    at: float
    ports: set[int]
    seconds: float

    def explains(self, outcome: Outcome) -> bool:
        """Tell whether a lost request was on a connection of this worker."""
        return outcome.port in self.ports and self.at <= outcome.ended <= self.at + _RESET_SECONDS


def prove_worker(
    frontend: str, *, kills: int, pause_seconds: float = _PAUSE_SECONDS, back_seconds: float = 5.0, role: str = "worker"
) -> list[Verdict]:
    """Kill workers, or front ends that share an engine, in turn under load, and return what was found."""
    engines = 2 if role == "worker" else 1
    with tempfile.TemporaryDirectory() as folder:
        _publish(Path(folder))
        with running(Path(folder), f"--{role}s", "2", frontend=frontend) as server:
            server.until(lambda: server.logged("listening") == 2 and server.logged("loaded") == engines, "complete")
            found, outcomes = asyncio.run(_kill(server, role, kills=kills, pause_seconds=pause_seconds))
            samples = totals.at_rest(server)
            code = server.stop()
    lost = [outcome for outcome in outcomes if outcome.lost]
    good = sum(outcome.good for outcome in outcomes)
    counted = totals.ended(samples, telling.MODEL)
    answers = counted["ok", ""]
    others = Counter(f"{one.kind}: {one.status}" for one in outcomes if not one.good and not one.lost)
    return [
        told("requests", len(outcomes)),
        at_least(f"{role}s killed", len(found), kills),
        at_least("connections they had, the fewest", min(len(kill.ports) for kill in found), 1),
        told("requests lost, on those connections", len(lost)),
        at_most("lost on others'", sum(not any(kill.explains(one) for kill in found) for one in lost), 0),
        none_of("wrong, or not answered by others", [f"{count} × {what}" for what, count in others.items()]),
        at_most("until there were two again, at most", max(kill.seconds for kill in found), back_seconds, " s"),
        at_least("processes with the model ready", totals.value(samples, "sameway_model_state", state="ready"), engines),
        # A request of the dead may have been counted when its answer was lost.
        Verdict("answers counted", f"{answers}", f"{good} to {good + len(lost)}", good <= answers <= good + len(lost)),
        at_most("counted otherwise", counted.total() - answers, len(lost)),
        at_most("exit code", code, 0),
    ]  # fmt: skip


async def _kill(server: Server, role: str, *, kills: int, pause_seconds: float) -> tuple[list[_Kill], list[Outcome]]:
    ended = asyncio.Event()
    requests = telling.requests(server.url.removeprefix("http://"))
    load = asyncio.create_task(
        open_load(server.host, server.port, requests, rate=_RATE, seconds=3600.0, connections=64, until=ended.is_set)
    )
    found = []
    try:
        for _ in range(kills):
            await asyncio.sleep(pause_seconds)
            victim = server.started(role)[0]  # the one that has lived longest
            found.append(await asyncio.to_thread(_kill_one, server, victim))
        await asyncio.sleep(_RESET_SECONDS)
    finally:
        ended.set()
    return found, await load


def _kill_one(server: Server, pid: int) -> _Kill:
    """Kill a worker and wait for its successor."""
    listening = server.logged("listening")
    os.kill(pid, signal.SIGSTOP)  # it takes no connection any more, while one looks
    ports, at = server.clients_of(pid), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    server.until(lambda: server.logged("listening") > listening, "complete again")
    return _Kill(at, ports, time.monotonic() - at)


def prove_supervisor(frontend: str) -> list[Verdict]:
    """Kill the supervisor under load, and return what was found."""
    end = drain.stop(frontend, signal.SIGKILL, workers=2, rate=_RATE)
    refused = [one.ended for one in end.outcomes if one.refused]
    closed = at_most("port closed", min(refused, default=float("inf")) - end.at, 5.0, " s")
    return [*drain.judged([end]), closed]


def prove_hang(frontend: str, *, workers: int, patience_seconds: float = 5.0) -> list[Verdict]:
    """Let a backend hang under load on another model, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _publish(root)
        graphs.publish_counting(root)
        (root / "counting" / "config.toml").write_text(
            f"hang_seconds = {_HANGS_SECONDS}\ntimeout_seconds = 60\nqueue_rows = 64\n"
        )
        flags = ("--workers", str(workers), "--hang-exit-seconds", str(_EXITS_SECONDS))
        with running(root, *flags, frontend=frontend) as server:
            server.until(lambda: server.logged("loaded") == workers, "loaded")
            return asyncio.run(_hang(server, workers=workers, patience_seconds=patience_seconds))


async def _hang(server: Server, *, workers: int, patience_seconds: float) -> list[Verdict]:
    host, over = server.url.removeprefix("http://"), asyncio.Event()
    load = asyncio.create_task(
        open_load(
            server.host, server.port, telling.requests(host), rate=_RATE, seconds=60.0, connections=64, until=over.is_set
        )
    )
    await asyncio.sleep(0.5)
    began = time.monotonic()
    hanging = asyncio.create_task(burst(server.host, server.port, [_count(host, _FOREVER)]))
    await asyncio.sleep(_HANGS_SECONDS / 2)
    # Those that meet the other worker are answered by it.
    behind = burst(server.host, server.port, [_count(host, 3) for _ in range(4)])
    looking = asyncio.to_thread(_reported, server, began)
    (hung,), waited, (reported, (alive, hanging_there)) = await asyncio.gather(hanging, behind, looking)
    if workers == 1:
        code = await asyncio.to_thread(server.wait)
        over.set()
        gone = time.monotonic() - began
        successor = await asyncio.to_thread(lambda: server.again().ready())
    else:
        await asyncio.to_thread(server.until, lambda: server.logged("listening") == workers + 1, "complete again")
        gone = time.monotonic() - began
        code = next(int(word.removeprefix("exit_code=")) for line in server.log for word in line.split()
                    if "event=worker_ended" in line and word.startswith("exit_code="))  # fmt: skip
        await asyncio.sleep(_RESET_SECONDS)
        over.set()
        successor = server
    outcomes = await load
    (after,) = await burst(server.host, server.port, [_count(host, 3)])
    bystanders = [one for one in outcomes if not one.refused and not one.good]
    told_to_wait = [one for one in bystanders if one.status == 503 and one.retry_after is not None]
    verdicts = [
        at_most("reported after", reported, _HANGS_SECONDS + 2.0, " s"),
        Verdict("liveness meanwhile", f"{alive}", "= 503" if workers == 1 else "not promised", workers > 1 or alive == 503),
        Verdict("processes where the model is unavailable, by /metrics", f"{hanging_there}", "= 1", hanging_there == 1),
        at_most("what hangs: otherwise than 503", int(hung.status != 503), 0),
        none_of(
            "what waits: neither 503 nor answered", [str(one.status) for one in waited if one.status != 503 and not one.good]
        ),
        at_most(
            "its process had ended, and had a successor, after",
            gone,
            _HANGS_SECONDS + _EXITS_SECONDS + patience_seconds,
            " s",
        ),
        Verdict("its exit code", f"{code}", "= 70", code == 70),
        told("requests for the other model", len(outcomes)),
        told("of them answered 503 with Retry-After, by the process that ended", len(told_to_wait)),
        none_of(
            "of them lost, wrong, or another error",
            [f"{one.kind}: {one.status}" for one in bystanders if one not in told_to_wait],
        ),
        Verdict("the model that hung, asked again", f"{after.status}", "= 200", after.good),
    ]
    if workers > 1:
        verdicts += _counted(await asyncio.to_thread(totals.at_rest, server), outcomes, [hung, *waited, after])
    stopped = successor.stop()
    return [*verdicts, at_most("exit code of the successor", stopped, 0)]


def _counted(samples: Sequence[Sample], outcomes: Sequence[Outcome], counting: Sequence[Outcome]) -> list[Verdict]:
    """Return whether the server has counted what its clients have seen: nobody was killed, so exactly."""
    verdicts = []
    for model, ours in ((telling.MODEL, outcomes), ("counting", counting)):
        theirs = totals.ended(samples, model)
        seen = (sum(one.good for one in ours), sum(one.status == 503 for one in ours))
        counted = (theirs["ok", ""], theirs.total() - theirs["ok", ""])
        verdicts.append(Verdict(f"{model}: answered, and not", f"{counted}", f"= {seen}", counted == seen))
    return verdicts


def _reported(server: Server, began: float) -> tuple[float, tuple[int, int]]:
    """Return after how long it was said that a backend hangs, and then the status of liveness, and processes that say so.

    Liveness is of the process that took the probe, which with several may be another; /metrics speaks for all of them.
    """
    server.until(lambda: server.logged("instance_hangs") == 1, "reported as hanging")
    seconds = time.monotonic() - began
    alive, _ = server.ask("/v2/health/live")
    hanging = totals.value(totals.read(server), "sameway_model_state", model="counting", state="unavailable")
    return seconds, (alive, int(hanging))


def _count(host: str, trips: int) -> Request:
    tensor = {"name": "trips", "datatype": "INT64", "shape": [], "data": [trips]}

    def right(body: bytes) -> bool:
        return bool(orjson.loads(body)["outputs"][0]["data"] == [trips])

    return Request(post(host, "/v2/models/counting/infer", orjson.dumps({"inputs": [tensor]})), right, kind="count")


def _publish(root: Path) -> None:
    telling.publish(root)
    (root / telling.MODEL / "config.toml").write_text(_CONFIG)


def main() -> int:
    """Print what was found on each front end; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6, help="processes killed, one after the other (6)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    arguments = parser.parse_args()
    code = 0
    for frontend in arguments.frontend or FRONTENDS:
        proofs: dict[str, Callable[[], list[Verdict]]] = {
            "a worker is killed": partial(prove_worker, frontend, kills=arguments.kills),
            "a front end is killed": partial(prove_worker, frontend, kills=arguments.kills, role="frontend"),
            "the engine of two front ends is killed": partial(
                prove_engine, frontend, kills=arguments.kills, pause_seconds=_ENGINE_PAUSE_SECONDS
            ),
            "the supervisor is killed": partial(prove_supervisor, frontend),
            "a backend hangs, 1 process": partial(prove_hang, frontend, workers=1),
            "a backend hangs, 2 workers": partial(prove_hang, frontend, workers=2),
        }
        for what, prove in proofs.items():
            verdicts = prove()
            print(f"kill, {frontend}: {what}", table(verdicts), sep="\n", flush=True)
            code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
