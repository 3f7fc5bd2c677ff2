"""Proof of G11, `make soak MINUTES=30`: a server that runs for long under everyday misbehaviour does not grow.

    python -m proofs.soak [--minutes 30] [--rate 100]

Both front ends at once, FastAPI in one process and Flask with two workers, each under open load of rows and images, by the
protocol and by /predict. One request in a hundred is hostile: JSON that is none, rows of a wrong shape, a client that hangs
up; and two clients that never end their headers are there all the time. Every minute a new version takes the old one's
place.
Looked at every second: memory, descriptors and threads of all processes of a server. Prints a line a minute.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from proofs import telling
from proofs.load import Outcome, Request, burst, open_load, post
from proofs.server import Server, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

#: Front end and workers of the servers that run side by side.
SERVERS = (("fastapi", 1), ("flask", 2))

_HOSTILE_SHARE = 0.01
#: What a hostile request is, and how it ends.
_MALFORMED, _WRONG_SHAPE, _HANGS_UP = "malformed", "wrong shape", "hangs up"
_HANGS_UP_SECONDS = 0.002
#: Clients that send a header a second and never the last one; the server cuts them off after 10 seconds, with 408.
_SLOW_CLIENTS, _SLOW_SECONDS = 2, 1.0

#: Requests at once, at the beginning. Pools take a thread more when as many requests meet as never before: that has happened
#: then, and what grows later is a leak.
_BURST = 128

#: Until then caches, pools and allocators may grow; a third of shorter runs.
_WARM_MINUTES = 10.0
#: Growth, and its bound where little time is measured: what an allocator does with what is given back.
_MOST_MIB_A_MINUTE, _MOST_MIB = 1.0, 10.0
_MOST_DESCRIPTORS = 16


@dataclass(frozen=True, slots=True)
class _Look:
    """What a server's processes held at one moment, in minutes from the beginning."""

    minute: float
    mebibytes: float
    descriptors: int
    threads: int


@dataclass(slots=True)
class _Soaked:
    """One server, and what was found of it."""

    server: Server
    root: Path
    looks: list[_Look] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    swaps: int = 0
    cut_off: int = 0


def prove(*, minutes: float, rate: float, swap_minutes: float = 1.0) -> dict[str, list[Verdict]]:
    """Soak both servers for so long, and return what was found of each."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        soaked = []
        for frontend, workers in SERVERS:
            root = Path(folder) / frontend
            telling.publish(root)
            server = stack.enter_context(running(root, "--management", "--workers", str(workers), frontend=frontend))
            server.until(lambda server=server, workers=workers: server.logged("loaded") == workers, "loaded")  # type: ignore[misc]
            soaked.append(_Soaked(server, root))
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(soaked, over, swap_minutes), name="watch", daemon=True)
        watcher.start()
        try:
            asyncio.run(_soak(soaked, minutes=minutes, rate=rate))
        finally:
            over.set()
            watcher.join()
        return {
            f"{frontend}, {workers} worker{'s' * (workers > 1)}": _judged(one, minutes=minutes, swap_minutes=swap_minutes)
            for (frontend, workers), one in zip(SERVERS, soaked, strict=True)
        }


async def _soak(soaked: Sequence[_Soaked], *, minutes: float, rate: float) -> None:
    async def one_server(one: _Soaked, seed: int) -> None:
        server, host = one.server, one.server.url.removeprefix("http://")
        await burst(server.host, server.port, itertools.islice(telling.requests(host, images=False), _BURST))
        slow = [asyncio.create_task(_slow_client(one)) for _ in range(_SLOW_CLIENTS)]
        requests = _requests(host, seed)
        # Few connections, so that their coming and going does not hide a leak of descriptors.
        load = open_load(
            server.host, server.port, requests, rate=rate, seconds=60 * minutes, connections=8, seed=seed, into=one.outcomes
        )
        await load
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    await asyncio.gather(*(one_server(one, seed) for seed, one in enumerate(soaked)))


def _requests(host: str, seed: int) -> Iterator[Request]:
    """Yield requests without end, a hostile one now and then."""
    path, draws = f"/v2/models/{telling.MODEL}/infer", random.Random(seed)
    wrong = {"name": "image", "datatype": "UINT8", "shape": [1, 3, 4], "data": [0] * 12}
    honest = telling.requests(host, seed=seed)
    hostile = itertools.cycle(
        (
            Request(post(host, path, b'{"inputs": [{"name": "image", "data": [1, 2'), kind=_MALFORMED),
            Request(post(host, path, orjson.dumps({"inputs": [wrong]})), kind=_WRONG_SHAPE),
            Request(next(honest).message, kind=_HANGS_UP, hangs_up_seconds=_HANGS_UP_SECONDS),
        )
    )
    while True:
        yield next(hostile if draws.random() < _HOSTILE_SHARE else honest)


async def _slow_client(one: _Soaked) -> None:
    """Send a head without end, and count how often that is cut off."""
    while True:
        reader, writer = await asyncio.open_connection(one.server.host, one.server.port)
        try:
            writer.write(b"POST /predict/telling HTTP/1.1\r\nhost: slow\r\n")
            answer = asyncio.create_task(reader.read())
            while not answer.done():
                writer.write(b"x-slow: 1\r\n")
                await asyncio.wait([answer], timeout=_SLOW_SECONDS)
            one.cut_off += b" 408 " in answer.result()
        except ConnectionError:
            one.cut_off += 1
        finally:
            writer.close()


def _watch(soaked: Sequence[_Soaked], over: threading.Event, swap_minutes: float) -> None:
    """Look at the servers every second, swap now and then, and print a line a minute. Runs in a thread of its own."""
    began = time.monotonic()
    printed = 0
    while not over.wait(1.0):
        minute = (time.monotonic() - began) / 60
        for one in soaked:
            server = one.server
            look = _Look(minute, server.resident_bytes() / 2**20, server.descriptors(), server.threads())
            one.looks.append(look)
            if minute >= (one.swaps + 1) * swap_minutes:
                _swap(one)
        if minute >= printed + 1:
            printed += 1
            print(f"minute {printed}: " + "; ".join(_line(one, printed) for one in soaked), flush=True)


def _swap(one: _Soaked) -> None:
    telling.publish(one.root)
    status, body = one.server.ask(f"/v2/repository/models/{telling.MODEL}/load", "POST")
    if status != 200:
        raise one.server.error(f"a load was answered {status}: {body!r}")
    one.swaps += 1
    for old in sorted(one.root.glob(f"{telling.MODEL}/[1-9]*"), key=lambda path: int(path.name))[:-3]:
        shutil.rmtree(old)


def _line(one: _Soaked, minute: int) -> str:
    looks = [look for look in one.looks if minute - 1 <= look.minute < minute]
    wrong = sum(not _in_order(outcome) for outcome in list(one.outcomes))
    memory, descriptors, threads = (
        statistics.median(getattr(look, name) for look in looks) for name in ("mebibytes", "descriptors", "threads")
    )
    return f"{len(one.outcomes):,} requests, {wrong} wrong, {memory:.1f} MiB, {descriptors:g} fds, {threads:g} threads"


def _in_order(outcome: Outcome) -> bool:
    """Tell whether a request ended as it should."""
    if outcome.kind == _HANGS_UP:
        return outcome.left or outcome.status == 200
    if outcome.kind in (_MALFORMED, _WRONG_SHAPE):
        return outcome.status == 400
    return outcome.good


def _judged(one: _Soaked, *, minutes: float, swap_minutes: float) -> list[Verdict]:
    warm = min(_WARM_MINUTES, minutes / 3)
    looks = [look for look in one.looks if look.minute >= warm]
    bound = max(_MOST_MIB_A_MINUTE, _MOST_MIB / (minutes - warm))
    wrong = Counter(f"{outcome.kind}: {outcome.status}" for outcome in one.outcomes if not _in_order(outcome))
    hostile = sum(outcome.kind in (_MALFORMED, _WRONG_SHAPE, _HANGS_UP) for outcome in one.outcomes)
    slope = statistics.linear_regression([look.minute for look in looks], [look.mebibytes for look in looks]).slope
    # By the tenth of the time: connections come and go, and while versions follow each other both have their threads.
    tenths = [[look for look in looks if int(10 * (look.minute - warm) / (minutes - warm)) == tenth] for tenth in range(10)]
    descriptors = [statistics.median(look.descriptors for look in tenth) for tenth in tenths if tenth]
    threads = [statistics.median(look.threads for look in tenth) for tenth in tenths if tenth]
    # In a shorter run the pools are still being filled, as requests happen to meet.
    pools = 0 if minutes >= _WARM_MINUTES else 16
    spread = max(descriptors) - min(descriptors)
    return [
        told("requests", len(one.outcomes)),
        at_least("hostile ones", hostile, len(one.outcomes) * _HOSTILE_SHARE // 2),
        none_of("ended otherwise than they should", [f"{count} × {what}" for what, count in wrong.items()]),
        at_least("slow clients cut off", one.cut_off, int(minutes * 2)),
        at_least("swaps", one.swaps, max(1, int(minutes / swap_minutes) - 1)),
        at_most(f"growth after minute {warm:.1f}", slope, bound, " MiB/min"),
        at_most(f"descriptors, {min(descriptors):g} to {max(descriptors):g}", spread, _MOST_DESCRIPTORS),
        at_most(f"threads, {min(threads):g} to {max(threads):g}", max(threads) - min(threads), pools),
        none_of("errors in the server's log", one.server.errors()),
        at_most("exit code", one.server.stop(), 0),
    ]  # fmt: skip


def main() -> int:
    """Print what was found of each server; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second to each server (100)")
    arguments = parser.parse_args()
    code = 0
    for what, verdicts in prove(minutes=arguments.minutes, rate=arguments.rate).items():
        print(f"soak, {what}", table(verdicts), sep="\n", flush=True)
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
