"""Measure what this server carries and what a request costs it, beside others around the same model.

  python -m loadtests.benchmark check                 what `make bench` runs: CPU per request beside a bare function
  python -m loadtests.benchmark check --record        the same, and its ratios become those that later runs are held to
  python -m loadtests.benchmark compare               every server there is, half an hour
  python -m loadtests.benchmark compare --peers .venv-peers --write-docs         what `make bench-peers` runs
  python -m loadtests.benchmark compare --sides sameway --works binary --rounds 1 --seconds 1      a glance
  python -m loadtests.benchmark compare --against ../before --sides sameway      this server as another checkout has it
  python -m loadtests.benchmark formats models/digits/1 --formats onnx onnx_int8 a version's formats beside each other
  python -m loadtests.benchmark show runs/benchmark.json --write-docs            an earlier run, once more

Answers are compared with those of the session itself before, between and after. Exit codes: 0 it was measured, 1 `check`
found a regression, 2 it could not be measured, or not all of it but for frameworks that failed.
"""

import argparse
import importlib.util
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.benchmark.side import CannotRun
from loadtests.benchmark.work import LARGE, SMALL, WORKS

if TYPE_CHECKING:
    from loadtests.benchmark.figures import Findings

#: Packages that the servers and the models need, and that a plain installation for serving may lack.
_PACKAGES = ("fastapi", "flask", "gunicorn", "onnx", "onnxruntime")

#: Five seconds without load tell a thousandth of a core from nothing; sessions alone need less than servers.
_IDLE_SECONDS, _RAW_SECONDS = 5.0, 1.0


def main(words: Sequence[str] | None = None) -> int:
    """Run it and return the exit code."""
    arguments = _arguments(words)
    # Servers are stopped on the way out; SIGTERM takes that way too.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return {"check": _check, "compare": _compare, "formats": _formats, "show": _show}[arguments.command](arguments)
    except (CannotRun, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(arguments: argparse.Namespace) -> int:
    generator = _generator()
    from loadtests.benchmark import check, wrk  # they need what was looked for
    from loadtests.benchmark.figures import Findings
    from loadtests.benchmark.surroundings import surroundings
    from loadtests.benchmark.turns import Turns

    recorded, around = check.read(), surroundings(wrk.version(generator))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        turns = Turns(check.plan(rounds=arguments.rounds), folder=Path(folder), generator=generator, tell=_tell)
        check.measure(turns, arguments.frontends)
    if turns.measured.failures:
        raise CannotRun(turns.measured.failures[0])
    findings = Findings(around, tuple(turns.measured.rounds), (), (), ())
    costs = check.costs(findings, recorded)
    print(check.tell(costs))
    if arguments.record:
        check.record(costs, findings.environment)
        return 0
    return int(any(one.is_regression for one in costs))


def _compare(arguments: argparse.Namespace) -> int:
    generator = _generator()
    from loadtests.benchmark import field, wrk  # they need what was looked for
    from loadtests.benchmark.figures import Findings
    from loadtests.benchmark.surroundings import surroundings
    from loadtests.benchmark.turns import Plan, Turns

    offered = [work for work in WORKS if work.model in arguments.models]
    works = tuple(work for work in offered if not arguments.works or any(word in str(work) for word in arguments.works))
    if not works:
        names = ", ".join(repr(str(work)) for work in offered)
        raise CannotRun(f"--works: expected words of {names}, found {arguments.works}")
    sides, absent = field.gather(environments=arguments.peers, against=arguments.against, names=arguments.sides)
    for one in absent:
        _tell(f"left out: {one.side}: {one.reason}")
    around = surroundings(wrk.version(generator), sides)
    plan = Plan(works, arguments.rounds, arguments.seconds, _IDLE_SECONDS, _RAW_SECONDS)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        turns = Turns(plan, folder=Path(folder), generator=generator, tell=_tell)
        for model in (SMALL, LARGE):
            turns.measure(model, sides)
    found = turns.measured
    findings = Findings(
        around,
        tuple(found.rounds),
        tuple(found.footprints.values()),
        tuple(found.raw),
        (*absent, *found.absent),
    )
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(findings.as_json(), indent=1) + "\n", encoding="utf-8")
    _present(findings, write_docs=arguments.write_docs)
    if found.failures:
        raise CannotRun("\n".join(found.failures))
    return 0


def _formats(arguments: argparse.Namespace) -> int:
    _generator()
    from loadtests.benchmark import formats

    plan = formats.Plan(rounds=arguments.rounds, seconds=arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        found = formats.measure(arguments.version.resolve(), arguments.formats, plan=plan, folder=Path(folder), tell=_tell)
    print(formats.table(found, plan))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from loadtests.benchmark import page
    from loadtests.benchmark.figures import Findings

    try:
        findings = Findings.from_json(json.loads(arguments.file.read_text(encoding="utf-8")))
        page.text(findings)  # the environment has all it names
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{arguments.file}: expected what `compare --json` writes, found {error!r}") from error
    _present(findings, write_docs=arguments.write_docs)
    return 0


def _present(findings: "Findings", *, write_docs: bool) -> None:
    from loadtests.benchmark import page

    print(page.text(findings))
    if write_docs:
        page.write(findings)


def _generator() -> str:
    """Return where wrk is; raise CannotRun where it or a package is not."""
    from loadtests.benchmark import wrk

    generator = wrk.find()
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRun(f"needs the packages {', '.join(missing)}; install them with: pip install 'sameway[dev]'")
    return generator


def _tell(line: str) -> None:
    """Say how far it is, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="CPU per request beside a bare function, and whether it has grown")
    check.add_argument("--rounds", type=_positive, default=5, help="how often each server has its turn (5)")
    check.add_argument("--frontends", nargs="+", choices=("fastapi", "flask"), default=["fastapi"])
    check.add_argument("--record", action="store_true", help="write the ratios down, to hold later runs to")
    compare = commands.add_parser("compare", help="every server, in turns")
    compare.add_argument("--rounds", type=_positive, default=5, help="how often each server has its turn (5)")
    compare.add_argument("--seconds", type=_positive, default=2, help="how long each turn is (2)")
    compare.add_argument("--sides", nargs="+", help="words, of which a server's name holds one (all)")
    compare.add_argument("--models", nargs="+", choices=(SMALL, LARGE), default=[SMALL, LARGE])
    compare.add_argument("--works", nargs="+", help="words, of which a kind of work holds one, as 'JSON, 16' (all)")
    compare.add_argument("--peers", type=Path, help="the folder of the peers' environments (no peers)")
    compare.add_argument("--against", type=Path, help="another checkout of this project, to be measured too")
    compare.add_argument("--json", type=Path, help="a file for all figures")
    formats = commands.add_parser("formats", help="the formats of one published version, served in turns")
    formats.add_argument("version", type=Path, help="the version's folder, as models/digits/1")
    formats.add_argument("--formats", nargs="+", default=["onnx", "onnx_int8"], help="the first is what others are beside")
    formats.add_argument("--rounds", type=_positive, default=5, help="how often each has its turn (5)")
    formats.add_argument("--seconds", type=_positive, default=2, help="how long each turn is (2)")
    show = commands.add_parser("show", help="what an earlier run has found")
    show.add_argument("file", type=Path, help="what `compare --json` wrote")
    for one in (compare, show):
        one.add_argument("--write-docs", action="store_true", help="put it into docs/performance.md")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return number
