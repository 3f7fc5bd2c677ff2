"""Measure what this server carries and what a request costs it, beside a bare FastAPI handler around the same session.

  python -m loadtests.benchmark                              what `make bench` runs: 3 minutes
  python -m loadtests.benchmark --rounds 1 --seconds 1       a glance
  python -m loadtests.benchmark --against ../before          and this server as another checkout has it

Every server has one process and one session of one thread. All of them run all the time, and take turns within a round:
first the answers are compared with those of the session itself, then wrk asks for one image, over and over. Exit codes:
0 it was measured, 2 it could not be.
"""

import argparse
import contextlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtests.benchmark import wrk
from loadtests.benchmark.process import Running, running
from loadtests.benchmark.report import Figures, as_json, environment, summarize, table
from loadtests.benchmark.side import BINARY, JSON, CannotRun

#: Packages that the servers and the model need, and that a plain installation for serving may lack.
_PACKAGES = ("fastapi", "flask", "onnx", "onnxruntime")

#: Seconds of load before a server is first measured: connections, caches and the first batches are behind it then.
_WARM_UP_SECONDS = 1


def main(words: Sequence[str] | None = None) -> int:
    """Run it and return the exit code."""
    arguments = _arguments(words)
    try:
        generator = wrk.find()
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise CannotRun(f"needs the packages {', '.join(missing)}; install them with: pip install 'sameway[dev]'")
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            found, measure = _measure(arguments, generator, Path(folder))
        rows, around = summarize(found, measure), environment(wrk.version(generator))
        if arguments.json is not None:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(as_json(found, rows, around), indent=1) + "\n", encoding="utf-8")
    except (CannotRun, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {value}" for name, value in around.items()))
    print(f"medians of {arguments.rounds} rounds of {arguments.seconds} s\n")
    print(table(rows, measure))
    return 0


def _measure(arguments: argparse.Namespace, generator: str, folder: Path) -> tuple[list[Figures], str]:
    """Return the figures of every round, and the name of the side that is the measure."""
    from loadtests.benchmark import bare, model, sameway  # they need what was looked for above

    (folder / "models").mkdir()
    file = model.publish(folder / "models")
    image = model.images(1)
    (expected,) = model.open_session(file).run([model.OUTPUT], {model.INPUT: image})
    measure = bare.side(file, image)
    sides = [measure, *(sameway.side(name, folder / "models", image) for name in ("fastapi", "flask"))]
    if arguments.against is not None:
        root = arguments.against.resolve()
        if not (root / "cli.py").is_file():
            raise CannotRun(f"--against: expected a checkout of this project, found {arguments.against}")
        sides += [sameway.side(name, folder / "models", image, root=root) for name in ("fastapi", "flask")]
    found: list[Figures] = []
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(side)) for side in sides]
        for server in servers:
            for exchange in server.side.exchanges.values():
                server.verify(exchange, expected)
        total = arguments.rounds * len(servers) * len(arguments.kinds) * len(arguments.connections)
        for kind, connections, number, server in _turns(arguments, servers):
            found.append(_turn(arguments, generator, folder, kind, connections, number, server))
            _tell(found[-1], len(found), total)
        for server in servers:  # still as right as before it was loaded
            for exchange in server.side.exchanges.values():
                server.verify(exchange, expected)
    return found, measure.name


def _turns(arguments: argparse.Namespace, servers: Sequence[Running]) -> Iterator[tuple[str, int, int, Running]]:
    """Yield who is measured when: within a round all servers in a row, in every round another one first."""
    for kind in arguments.kinds:
        for connections in arguments.connections:
            for number in range(arguments.rounds):
                first = number % len(servers)
                for server in (*servers[first:], *servers[:first]):
                    yield kind, connections, number, server


def _turn(
    arguments: argparse.Namespace, generator: str, folder: Path, kind: str, connections: int, number: int, server: Running
) -> Figures:
    """Measure one server once."""
    exchange = server.side.exchanges[kind]
    script = wrk.write_script(exchange, folder, kind)
    if number == 0:
        wrk.load(generator, script, server.port, exchange, connections=connections, seconds=_WARM_UP_SECONDS)
    before = server.cpu_seconds()
    load = wrk.load(generator, script, server.port, exchange, connections=connections, seconds=arguments.seconds)
    spent = server.cpu_seconds() - before
    return Figures(
        server.side.name,
        kind,
        connections,
        number,
        load.requests,
        requests_per_second=load.requests / load.seconds,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us=spent / load.requests * 1e6,
    )


def _tell(one: Figures, done: int, total: int) -> None:
    """Say how far it is, on standard error."""
    figures = f"{one.requests_per_second:>8,.0f}/s {one.cpu_us:>5.0f} µs"
    print(f"{done:>3}/{total} {one.kind:<6} {one.connections:>3} {figures}  {one.side}", file=sys.stderr, flush=True)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each server has its turn (5)")
    parser.add_argument("--seconds", type=_positive, default=2, help="how long each turn is (2)")
    parser.add_argument("--connections", type=_positive, nargs="+", default=[1, 16, 64], help="how many at once (1 16 64)")
    parser.add_argument("--kinds", nargs="+", choices=(JSON, BINARY), default=[JSON, BINARY], help="how an image travels")
    parser.add_argument("--against", type=Path, help="another checkout of this project, to be measured too")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return number
