"""The ledger's long form: many requests, liars and hang-ups among them, and not one answer lost, swapped or doubled.

  python -m tests.ledger --requests 200000                   against a server of its own, on FastAPI
  python -m tests.ledger --frontend flask --format torchscript
  python -m tests.ledger --publish models                    only publish the tracer into a repository
  python -m tests.ledger --url http://host:8000              against any server that serves the tracer
  python -m tests.ledger --judge run.ledger                  only judge a ledger that was kept with --keep

The exit code is 1 if any equation is violated.
"""

import argparse
import contextlib
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.ledger import ledger, tracer
from tests.ledger.judge import judge
from tests.ledger.ledger import Ledger
from tests.ledger.process import serving
from tests.ledger.prove import prove
from tests.ledger.publish import publish


def main(words: Sequence[str] | None = None) -> int:
    """Run it and return the exit code."""
    arguments = _arguments(words)
    if arguments.publish is not None:
        version = publish(arguments.publish, formats=("onnx", "torchscript"))
        print(f"published {version.path}")
        return 0
    if arguments.judge is not None:
        report = judge(ledger.read(arguments.judge), refusals=arguments.refusals)
        print(report)
        return 0 if report.passed else 1
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder, _server(arguments, Path(folder)) as (host, port):
        file = arguments.keep or Path(folder) / "run.ledger"
        progress = _Progress(arguments.requests)
        report = prove(
            host, port, file=file, seed=arguments.seed, requests=arguments.requests,
            connections=arguments.connections, refusals=arguments.refusals, tick=progress.show,
        )  # fmt: skip
        progress.end()
        print(report)
    return 0 if report.passed else 1


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ledger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200_000, help=f"how many, at most {tracer.MAX_REQUESTS:,}")
    parser.add_argument("--connections", type=int, default=64, help="how many at once, half of them pipelined (64)")
    parser.add_argument("--frontend", choices=("fastapi", "flask"), default="fastapi", help="of the server started here")
    parser.add_argument("--format", choices=("onnx", "torchscript"), default="onnx", help="what that server runs")
    parser.add_argument("--seed", type=int, default=None, help="a number that makes the run; default: another every time")
    parser.add_argument("--refusals", type=float, default=0.01, help="share that may be answered 429, 503 or 504 (0.01)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the ledger here, and keep it")
    parser.add_argument("--url", help="ask this server, and start none")
    parser.add_argument(
        "--publish", type=Path, metavar="REPOSITORY", help="publish the tracer's next version there, and end"
    )
    parser.add_argument("--judge", type=Path, metavar="FILE", help="judge this ledger, and end")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.requests <= tracer.MAX_REQUESTS:
        parser.error(f"--requests: expected 1 to {tracer.MAX_REQUESTS:,}")
    if arguments.seed is None:
        arguments.seed = time.time_ns() % 2**31
    return arguments


@contextlib.contextmanager
def _server(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int]]:
    """Give the address of the server to be asked."""
    if arguments.url:
        url = urllib.parse.urlsplit(arguments.url)
        yield url.hostname or "127.0.0.1", url.port or 80
        return
    publish(folder, formats=(arguments.format,))
    with serving(folder, frontend=arguments.frontend) as process:
        where = f"{arguments.frontend}, {arguments.format}, seed {arguments.seed}"
        print(f"ledger: {arguments.requests:,} requests to {process.host}:{process.port} ({where})")
        yield process.host, process.port
    for line in process.errors():
        print(line, end="", file=sys.stderr)


class _Progress:
    """One line that is written over and over on a terminal, and now and then into a file."""

    def __init__(self, requests: int) -> None:
        self._requests = requests
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = 0.0

    def show(self, writer: Ledger) -> None:
        """Say how far the run is."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 10.0)
        counts = writer.counts
        done = sum(counts[event] for event in ledger.TERMINAL)
        ends = "  ".join(f"{event} {counts[event]:,}" for event in ledger.TERMINAL)
        share, rate = done / self._requests, done / max(now - self._began, 1e-9)
        bar = "#" * int(30 * share)
        line = f"[{bar:<30}] {share:4.0%}  {done:,} of {self._requests:,}  {rate:,.0f}/s  {ends}"
        print(f"\r{line} " if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            print(file=sys.stderr)
