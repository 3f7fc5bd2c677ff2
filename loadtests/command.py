"""Put load on a running server, check every answer, and say how much it carries.

  sameway loadtest http://127.0.0.1:8000 --model digits                     16 users, 20 seconds
  sameway loadtest http://127.0.0.1:8000 --rate 500 --slo 'p99<50ms,errors<0.1%'
  sameway loadtest http://127.0.0.1:8000 --find-capacity --slo 'p99<50ms'   the largest rate that keeps it
  sameway loadtest http://127.0.0.1:8000 --scenario spike --report runs/spike
  sameway loadtest --tune --model digits --slo 'p99<50ms'                   serves it itself, and proposes a config.toml

Users wait for an answer before they ask again (closed load); with --rate strangers come whether there was an answer or not
(open load), and latencies count from when they came. Expected answers are the repository's golden sample, or what the server
says to one sample at a time before the load. Exit codes: 0 all is well, 1 answers were wrong or failed or an objective was
missed, 2 the test could not run, 3 the generator was saturated, 130 after Ctrl-C; the report is written in all of them.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from loadtests import compare, environment, options, output, report, terminal
from loadtests.calibration import Speed, calibrate
from loadtests.options import Options
from loadtests.server import CannotRun, Server
from loadtests.slo import SloError
from models.repository import RepositoryError

add_arguments = options.add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Run Locust in a process of its own and report."""
    with _terminable():
        return _run(arguments)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, as CI sends it, end a load as Ctrl-C does: the generator ends too, and the report is written."""
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: argparse.Namespace) -> int:
    asked = Options()
    try:
        asked = options.resolve(arguments)
        if importlib.util.find_spec("locust") is None:
            raise CannotRun("needs the package 'locust'; install it with: pip install 'sameway[loadtest]'")
        old = None if asked.compare is None else output.read(Path(asked.compare))
        output.prepare(asked.report)
        found = _found(asked)
        output.add_comparison(found, old)
        for line in terminal.lines(found):
            print(line)
        written = output.write(found, asked.report)
    except (CannotRun, RepositoryError, SloError) as error:
        print(f"sameway loadtest: {error}", file=sys.stderr)
        output.could_not_run(str(error), asked.report)
        return report.COULD_NOT_RUN
    except KeyboardInterrupt:  # before there was a load; from then on it is the load that is marked
        output.could_not_run("interrupted by Ctrl-C before there was any load", asked.report)
        raise
    for file in written:
        print(f"written: {file}")
    return int(found["exit_code"])


def _found(asked: Options) -> report.Json:
    """Do what is asked and return the report."""
    from loadtests import runs  # after the options are known to be right: this is where Locust's side begins

    speeds: list[Speed] = [calibrate()]
    told = {name: value for name, value in dataclasses.asdict(asked).items() if value not in (None, (), "", False)}
    if asked.tune:
        from loadtests import tune_command

        return tune_command.tuned(asked)
    if asked.url is None:
        raise CannotRun("url: expected http://host:port, found none")
    server = Server(asked.url.rstrip("/"), runs.headers(asked), asked.ca)
    objectives = runs.objectives(asked)
    traffic, samples = runs.prepared(server, asked)
    more: report.Json
    if asked.find_capacity:
        found = runs.capacity_of(asked, server, traffic, samples, objectives)
        speeds += found.speeds
        loads = [] if found.near is None else [report.run_json(found.near, "the last trial that kept it", ())]
        more = {"capacity": found.to_json(asked.slo or ""), "exit_code": report.of_search(found.valid, found.why)}
        more["exit_code"] = report.INTERRUPTED if found.interrupted else more["exit_code"]
    else:
        loads = runs.all_of(asked, server, traffic, samples, objectives, speeds)
        more = {"variants": compare.variants(loads)}
    speeds.append(calibrate())
    return report.assemble(
        "capacity" if asked.find_capacity else "load",
        options=told,
        target=environment.target(server, samples, asked.image),
        environment=environment.here(speeds),
        runs=loads,
        **more,
    )
