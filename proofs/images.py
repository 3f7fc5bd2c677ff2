"""Proof of what docs/operations.md says of the images, `make image-figures`: sizes, starts, memory, ends under load.

    python -m proofs.images [--target serve] [--stops 5] [--json FILE] [--markdown FILE]

Builds the Dockerfile's images on the Docker engine there is, with the versions published under models/, and measures
containers of them. **Added** is what an image's layers hold more than its base's. **Ready** is the time from `docker start`
to the first 200 of the ready route, of several starts, less what the server's process waited for a processor that others
had. **Memory** is the most that the process has held when it is ready, and after load.

Then containers are stopped, killed and let run out of memory while requests come, as `proofs.drain` does with processes.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from proofs import drain, telling
from proofs.containers import Container, added_bytes, build, docker, layer_bytes, running
from proofs.load import Outcome, closed_load, open_load
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

BASE = "python:3.11-slim-bookworm"
TARGETS = ("serve", "serve-torch", "train")
#: What `serve` may add to its base, in bytes, and how soon it must be ready.
BUDGET_BYTES, BUDGET_SECONDS = 300_000_000, 2.0

#: Load before a container is stopped or killed, and for at most how long after it.
_BEFORE_SECONDS, _AFTER_SECONDS = 1.0, 60.0
#: Enough for the server with a small model, and not for the bodies that are sent to it.
_MEMORY = ("--memory", "192m", "--memory-swap", "192m")
#: A body just below the limit of one (32 MiB); so many of them hold more than the container may.
_BODY_BYTES, _BODIES = 30 * 1024 * 1024, 12


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of an image. Bytes and seconds; nothing of start and memory for one that does not serve."""

    target: str
    added_bytes: int
    #: Of its layers, the newest first, without empty ones.
    layer_bytes: Sequence[int]
    ready_seconds: Sequence[float]
    ready_memory_bytes: int
    loaded_memory_bytes: int


def measure(target: str, image: str, models: Path, *, starts: int = 5) -> Figures:
    """Measure an image; containers of one that serves are started so many times."""
    own = [size for size in layer_bytes(image)[: -len(layer_bytes(BASE))] if size]
    if target == "train":
        return Figures(target, added_bytes(image, BASE), own, (), 0, 0)
    took, memory, loaded = [], 0, 0
    for _ in range(starts):
        container = Container.create(image, models=models)
        try:
            took.append(ready_seconds(container))
            memory = max(memory, container.peak_bytes())
            if len(took) == starts:
                requests = telling.requests(container.authority)
                asyncio.run(closed_load(container.host, container.port, requests, clients=16, seconds=5))
                loaded = container.peak_bytes()
        finally:
            container.remove()
    return Figures(target, added_bytes(image, BASE), own, took, memory, loaded)


def ready_seconds(container: Container) -> float:
    """Start a container; return how long it took to be ready, less what it waited for a processor that others had."""
    begun = time.monotonic()
    container.start()
    container.ready()
    return time.monotonic() - begun - container.waited_seconds()


def judged(found: Figures) -> list[Verdict]:
    """Return the verdicts on an image's figures; only `serve` has a budget."""
    megabytes = found.added_bytes / 1e6
    if found.target != "serve":
        return [told(f"{found.target}: added to the base", megabytes, " MB")]
    return [
        at_most("serve: added to the base", megabytes, BUDGET_BYTES / 1e6, " MB"),
        at_most("serve: ready after, median", statistics.median(found.ready_seconds), BUDGET_SECONDS, " s"),
    ]


def markdown(figures: Sequence[Figures]) -> str:
    """Return the table of docs/performance.md."""
    lines = ["| image | added to the base, MB | its layers, MB | ready after, s | memory, MB | after load, MB |"]
    lines.append("| - | -: | - | -: | -: | -: |")
    for one in figures:
        layers = " + ".join(f"{size / 1e6:.1f}" for size in reversed(one.layer_bytes) if size >= 50_000)
        took = f"{min(one.ready_seconds):.2f} to {max(one.ready_seconds):.2f}" if one.ready_seconds else "–"
        memory = [f"{size / 1e6:.0f}" if size else "–" for size in (one.ready_memory_bytes, one.loaded_memory_bytes)]
        lines.append(f"| {one.target} | {one.added_bytes / 1e6:.0f} | {layers} | {took} | {memory[0]} | {memory[1]} |")
    return "\n".join(lines)


async def stopped(image: str, models: Path, signal: str, *, rate: float, seed: int = 0) -> drain.Stop:
    """Run a container under load, send it a signal, and return once it has ended."""
    with running(image, models=models) as container:
        await asyncio.to_thread(container.ready)
        gone = asyncio.Event()
        load = asyncio.create_task(_load(container, gone, rate=rate, seed=seed))
        await asyncio.sleep(_BEFORE_SECONDS)
        at = time.monotonic()
        await asyncio.to_thread(container.kill, signal)
        code = await asyncio.to_thread(container.wait)
        seconds = time.monotonic() - at
        gone.set()
        errors = [line for line in container.log().splitlines() if "level=ERROR" in line or "Traceback" in line]
        return drain.Stop(at, seconds, code, await load, errors)


async def killed_beside_another(image: str, models: Path, *, rate: float) -> list[Verdict]:
    """Kill one of two containers under load and start it again; return what the clients of both have seen."""
    with running(image, models=models) as killed, running(image, models=models) as other:
        for container in (killed, other):
            await asyncio.to_thread(container.ready)
        ended = asyncio.Event()
        loads = [asyncio.create_task(_load(one, ended, rate=rate, seed=seed)) for seed, one in enumerate((killed, other))]
        await asyncio.sleep(_BEFORE_SECONDS)
        at = time.monotonic()
        await asyncio.to_thread(killed.kill)
        code = await asyncio.to_thread(killed.wait)
        await asyncio.to_thread(killed.start)
        await asyncio.to_thread(killed.ready)
        ready = time.monotonic()
        await asyncio.sleep(_BEFORE_SECONDS)
        ended.set()
        of_killed, of_other = [await load for load in loads]
    bad = [outcome for outcome in of_killed if not outcome.good]
    return [
        at_most("killed: exit code", code, 137),
        at_least("killed: exit code", code, 137),
        at_least("killed: requests that it failed", len(bad), 1),
        none_of("killed: failed before that, or after", _told(o for o in bad if o.ended < at or o.meant > ready)),
        at_least("killed: answered after it was ready again", sum(o.good and o.meant > ready for o in of_killed), 1),
        at_least("the other: answered", len(of_other), 1),
        none_of("the other: failed", _told(o for o in of_other if not o.good)),
    ]  # fmt: skip


def out_of_memory(image: str) -> list[Verdict]:
    """Send a container with little memory more than it can hold, without a restart policy and with one."""
    with running(image, *_MEMORY) as container:
        container.ready()
        _fill(container)
        code = container.wait()
        by_kernel = container.state()["OOMKilled"]
        docker("update", "--restart", "on-failure:5", container.name)
        container.start()
        container.ready()
        _fill(container)
        container.until(lambda: _restarts(container) >= 1, "started again by the engine")
        container.ready()
        answered = container.ask("/v2/health/live")[0]
    return [
        at_least("out of memory: exit code", code, 137),
        at_most("out of memory: exit code", code, 137),
        at_least("out of memory: the engine says that it was", by_kernel, 1),
        at_least("out of memory: started again by the restart policy, and answers", answered, 200),
    ]


def _restarts(container: Container) -> int:
    return int(docker("inspect", "--format", "{{.RestartCount}}", container.name))


def _fill(container: Container) -> None:
    """Send so many large bodies at once; whoever reads them may end meanwhile."""
    head = f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: {container.authority}\r\ncontent-length: {_BODY_BYTES}\r\n\r\n"

    def send() -> None:
        with contextlib.suppress(OSError), socket.create_connection((container.host, container.port), timeout=60) as client:
            client.sendall(head.encode())
            # All but the last of it: the server waits for that, and holds the rest.
            client.sendall(b"0" * (_BODY_BYTES - 1))
            client.recv(1)

    senders = [threading.Thread(target=send, daemon=True) for _ in range(_BODIES)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


async def _load(container: Container, ended: asyncio.Event, *, rate: float, seed: int) -> list[Outcome]:
    requests = telling.requests(container.authority, seed=seed)
    return await open_load(
        container.host, container.port, requests, rate=rate, seconds=_BEFORE_SECONDS + _AFTER_SECONDS, connections=256,
        seed=seed, until=ended.is_set,
    )  # fmt: skip


def _told(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"{outcome.kind}: {outcome.status or 'no answer'}" for outcome in outcomes]


def main() -> int:
    """Build, measure, stop and kill; print what was found, and return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this image")
    parser.add_argument("--stops", type=int, default=5, help="stops under load (5)")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    parser.add_argument("--markdown", type=Path, help="where to write the table of docs/performance.md")
    arguments = parser.parse_args()
    targets = arguments.target or TARGETS
    index = os.environ.get("TORCH_INDEX", "")
    images = {target: build(target, f"sameway:{target}-proof", MODELS="models", TORCH_INDEX=index) for target in targets}
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        telling.publish(models)
        (models / telling.MODEL / "config.toml").write_text(drain.CONFIG)
        figures = [measure(target, image, models) for target, image in images.items()]
        verdicts = [verdict for one in figures for verdict in judged(one)]
        if "serve" in images:
            serve, seeds = images["serve"], range(arguments.stops)
            stops = [asyncio.run(stopped(serve, models, "TERM", rate=300.0, seed=seed)) for seed in seeds]
            verdicts += drain.judged(stops)
            verdicts.append(at_most("exit codes other than 0", sum(one.code != 0 for one in stops), 0))
            verdicts += asyncio.run(killed_beside_another(serve, models, rate=200.0))
            verdicts += out_of_memory(serve)
    print("images", table(verdicts), markdown(figures), sep="\n", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in figures], indent=2) + "\n")
    if arguments.markdown is not None:
        arguments.markdown.write_text(markdown(figures) + "\n")
    return exit_code(verdicts)


if __name__ == "__main__":
    sys.exit(main())
