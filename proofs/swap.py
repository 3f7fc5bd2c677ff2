"""Proof of G9, `make swap`: versions follow each other under load, and no client notices more than another version.

    python -m proofs.swap [--swaps 100] [--spoiled 20] [--frontend fastapi] [--workers 1]

Open load at 300 requests a second, rows and image files, small and large. Meanwhile the next version is published and loaded
by the management API, again and again; among the first half of them are spoiled ones, whose load must be answered 503 while
the old version serves on. Old versions are deleted from the disk under the server. Every request must be answered, and
rightly for the version it names, which must have been in service between the moments of its sending and of its end.
"""

import argparse
import asyncio
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proofs import telling
from proofs.load import Outcome, open_load, percentile
from proofs.overload import FRONTENDS
from proofs.server import Server, running
from proofs.spoil import WAYS, spoiled
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

#: Versions that stay on the disk; older ones are deleted.
_KEPT = 5

#: Elsewhere a version without a manifest may be served, of whose origin nothing is known. Not here.
_ENVIRONMENT = {"SAMEWAY_REQUIRE_MANIFEST": "true"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How hard it is tried, and what must hold beside correctness; the defaults are the promise."""

    #: Memory after all swaps, of that after the warm-up.
    memory: float = 1.05
    #: Swaps until libraries and allocators have what they need.
    warm_up: int = 10
    #: Load before the first swap: threads that decode and buffers are made once, and are not what swaps cost.
    traffic_seconds: float = 3.0
    #: Between one change and the next, so that each meets some sixty requests.
    pause_seconds: float = 0.2


@dataclass(slots=True)
class _Service:
    """When each version can have answered: from its load's beginning to the end of the load that followed it. Monotonic."""

    begins: dict[int, float] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    #: How long good loads took, and what the spoiled ones were answered otherwise than by 503.
    load_seconds: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    resident: dict[int, int] = field(default_factory=dict)

    def covers(self, outcome: Outcome) -> bool:
        """Tell whether the version that an answer names was in service at some moment while its request was."""
        version, digest = telling.told(outcome.version)
        if self.digests.get(version) != digest:
            return False
        return self.begins[version] <= outcome.ended and outcome.sent <= self.ends.get(version, float("inf"))


def prove(
    frontend: str,
    *,
    workers: int,
    swaps: int,
    spoiled: int,
    rate: float = 300.0,
    bounds: Bounds | None = None,
    more: Sequence[str] = (),
) -> list[Verdict]:
    """Swap so many times under load, so many spoiled versions among the first half, and return what was found.

    The server is started with `more` flags.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        first = telling.publish(root)
        service = _Service({1: 0.0}, {}, {1: first.digest})
        flags = ("--management", "--workers", str(workers), *more)
        with running(root, *flags, frontend=frontend, environment=_ENVIRONMENT) as server:
            server.until(lambda: server.logged("loaded") == workers, "loaded by every worker")
            outcomes = asyncio.run(
                _swap(server, root, service, swaps=swaps, spoiled=spoiled, rate=rate, bounds=bounds or Bounds())
            )
            unexpected = [line for line in server.errors() if "event=load_failed" not in line]
            code = server.stop()
    return _judged(outcomes, service, unexpected, code, swaps=swaps, spoiled=spoiled, bounds=bounds or Bounds())


async def _swap(
    server: Server, root: Path, service: _Service, *, swaps: int, spoiled: int, rate: float, bounds: Bounds
) -> list[Outcome]:
    ended = asyncio.Event()
    requests = telling.requests(server.url.removeprefix("http://"))
    load = asyncio.create_task(
        # An hour stands for as long as it takes.
        open_load(server.host, server.port, requests, rate=rate, seconds=3600.0, connections=64, until=ended.is_set)
    )
    try:
        await asyncio.sleep(bounds.traffic_seconds)
        await asyncio.to_thread(_change_versions, server, root, service, swaps=swaps, spoiled=spoiled, bounds=bounds)
    finally:
        ended.set()
    return await load


def _change_versions(server: Server, root: Path, service: _Service, *, swaps: int, spoiled: int, bounds: Bounds) -> None:
    """Swap, and try the spoiled versions, evenly spread over the first half of the swaps."""
    ways = itertools.cycle(WAYS)
    tried, now = 0, 1
    for swap in range(1, swaps + 1):
        while tried < min(spoiled, 2 * spoiled * swap // swaps):
            time.sleep(bounds.pause_seconds)
            _try_spoiled(server, root, service, next(ways))
            tried += 1
        time.sleep(bounds.pause_seconds)
        version = telling.publish(root)
        number = version.manifest.version
        service.digests[number] = version.digest
        service.begins[number] = time.monotonic()
        status, body = server.ask(f"/v2/repository/models/{telling.MODEL}/load", "POST")
        if status != 200:
            raise server.error(f"a load was answered {status}: {body!r}")
        service.ends[now] = time.monotonic()
        service.load_seconds.append(service.ends[now] - service.begins[number])
        now = number
        for old in sorted(root.glob(f"{telling.MODEL}/[1-9]*"), key=lambda path: int(path.name))[:-_KEPT]:
            shutil.rmtree(old)
        if swap in (bounds.warm_up, swaps):
            service.resident[swap] = _at_rest(server)


def _at_rest(server: Server) -> int:
    """Return the memory that the server holds where no image is being decoded: the least in a second."""
    found = []
    for _ in range(20):
        found.append(server.resident_bytes())
        time.sleep(0.05)
    return min(found)


def _try_spoiled(server: Server, root: Path, service: _Service, way: str) -> None:
    number = spoiled(root, way)
    status, body = server.ask(f"/v2/repository/models/{telling.MODEL}/load", "POST")
    if status == 503 and b"serves on" in body:
        service.refused += 1
    else:
        service.accepted.append(f"{way} (version {number}): {status} {body!r}")


def _judged(
    outcomes: Sequence[Outcome],
    service: _Service,
    unexpected: Sequence[str],
    code: int,
    *,
    swaps: int,
    spoiled: int,
    bounds: Bounds,
) -> list[Verdict]:
    good = [outcome for outcome in outcomes if outcome.good]
    answered = {telling.told(outcome.version)[0] for outcome in good}
    kinds = Counter(outcome.kind for outcome in good)
    failed = Counter(f"{outcome.kind}: {outcome.status or 'no answer'}" for outcome in outcomes if not outcome.good)
    before, after = service.resident[bounds.warm_up], service.resident[swaps]
    mebibytes = f"{before / 2**20:.0f} to {after / 2**20:.0f} MiB"
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [
        Verdict("requests answered rightly", f"{len(good)}", counts, len(kinds) == len(telling.KINDS)),
        none_of("requests failed, or answered wrongly", [f"{count} × {what}" for what, count in failed.items()]),
        at_most("answers by a version that was not in service", sum(not service.covers(outcome) for outcome in good), 0),
        at_least("swaps", len(service.load_seconds), swaps),
        # Else the load was no load: a version nobody met was not swapped under anybody.
        at_least("share of versions that clients met", len(answered) / (swaps + 1), 0.8),
        at_least("spoiled versions refused with 503", service.refused, spoiled),
        none_of("spoiled versions answered otherwise", service.accepted),
        told("p99 of answers", percentile((one.seconds for one in good), 99) * 1000, " ms"),
        told("p99 of loads", percentile(service.load_seconds, 99) * 1000, " ms"),
        at_most(f"memory after {swaps} swaps, of that after {bounds.warm_up} ({mebibytes})", after / before, bounds.memory),
        none_of("unexpected errors in the server's log", unexpected),
        at_most("exit code", code, 0),
    ]


def main() -> int:
    """Print what was found on each front end; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100, help="swaps, at least 10 (100)")
    parser.add_argument("--spoiled", type=int, default=20, help="spoiled versions among the first half of them (20)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    parser.add_argument("--workers", type=int, action="append", help="only so many workers; default 1, and then 2")
    arguments = parser.parse_args()
    code = 0
    for frontend, workers in itertools.product(arguments.frontend or FRONTENDS, arguments.workers or (1, 2)):
        verdicts = prove(frontend, workers=workers, swaps=arguments.swaps, spoiled=arguments.spoiled)
        print(f"swap, {frontend}, {workers} worker{'s' * (workers > 1)}", table(verdicts), sep="\n", flush=True)
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
