"""Put load on a running server, check every answer, and say how much it carries.

  sameway loadtest http://127.0.0.1:8000 --model digits                     16 users, 20 seconds
  sameway loadtest http://127.0.0.1:8000 --rate 500 --slo 'p99<50ms,errors<0.1%'
  sameway loadtest http://127.0.0.1:8000 --find-capacity --slo 'p99<50ms'   the largest rate that keeps it
  sameway loadtest http://127.0.0.1:8000 --scenario spike --report runs/spike
  sameway loadtest --tune --model digits --slo 'p99<50ms'                   serves it itself, and proposes a config.toml

Users wait for an answer before they ask again (closed load); with --rate strangers come whether there was an answer or not
(open load), and latencies count from when they came. Expected answers are the repository's golden sample, or what the server
says to one sample at a time before the load.

Exit codes: 0 all is well, 1 answers were wrong or failed or an objective was missed, 2 the test could not run, 3 the
generator was saturated, had no connection free, or ended, so that nothing is known of the server, 130 after Ctrl-C, SIGTERM
or SIGHUP. The report is written in all of them but 2; a second Ctrl-C ends at once.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import sys
from pathlib import Path
from typing import TextIO

from loadtests import compare, environment, interrupts, options, output, report, terminal
from loadtests.calibration import Speed, calibrate
from loadtests.interrupts import Interrupts
from loadtests.options import Options
from loadtests.said import line_of
from loadtests.server import CannotRun, Server
from loadtests.slo import SloError
from models.repository import RepositoryError

add_arguments = options.add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Run Locust in a process of its own and report."""
    with interrupts.handled() as heard:
        return _run(arguments, heard)


def _run(arguments: argparse.Namespace, heard: Interrupts) -> int:
    asked, old, folder = Options(), None, None
    try:
        folder = options.report_folder(arguments)
        old = None if arguments.compare is None else output.read(Path(arguments.compare))
        output.prepare(folder)
        asked = options.resolve(arguments)
        if importlib.util.find_spec("locust") is None:
            raise CannotRun("needs the package 'locust'; install it with: pip install 'sameway[loadtest]'")
        found = _found(asked, heard)
    except (CannotRun, RepositoryError, SloError) as error:
        _print(f"sameway loadtest: {error}", sys.stderr)
        output.could_not_run(str(error), folder)
        return report.COULD_NOT_RUN
    except KeyboardInterrupt:  # while the server was asked, before there was any load
        found = _assembled(asked, "load", [], environment.nobody(asked.url), [])
    return _tell(found, folder, old, heard)


def _tell(found: report.Json, folder: str | None, old: report.Json | None, heard: Interrupts) -> int:
    """Write the report and print it; a signal meanwhile is in it, too."""
    try:
        output.add_comparison(found, old)
        written = output.write(found, folder)
        if heard.heard != found["interrupted"]:
            found |= {"interrupted": heard.heard, "exit_code": report.INTERRUPTED}
            written = output.write(found, folder)
    except CannotRun as error:  # a full disk: what has been measured is told all the same
        for line in terminal.lines(found):
            _print(line)
        _print(f"sameway loadtest: {error}", sys.stderr)
        return report.COULD_NOT_RUN
    for line in (*terminal.lines(found), *(f"written: {file}" for file in written)):
        _print(line)
    return int(found["exit_code"])


def _print(text: str, stream: TextIO | None = None) -> None:
    """Print lines without whatever of a server's words would steer a terminal; one that has gone is none of our errors."""
    stream = stream or sys.stdout
    try:
        for line in text.splitlines() or [""]:
            encoding = stream.encoding or "utf-8"
            print(line_of(line).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:  # `| head`, or a terminal that was closed: what waits to be written would be an error at exit again
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _found(asked: Options, heard: Interrupts) -> report.Json:
    """Do what is asked and return the report; raise KeyboardInterrupt for a signal before there was any load."""
    from loadtests import runs  # after the options are known to be right: this is where Locust's side begins

    speeds: list[Speed] = [calibrate()]
    if asked.tune:
        from loadtests import tune_command

        return tune_command.tuned(asked)
    if asked.url is None:
        raise CannotRun("url: expected http://host:port, found none")
    server = Server(asked.url.rstrip("/"), runs.headers(asked), asked.ca)
    objectives = runs.objectives(asked)
    with heard.listening():
        traffic, samples = runs.prepared(server, asked)
        target = environment.target(server, samples, asked.image)
    more: report.Json
    if asked.find_capacity:
        found = runs.capacity_of(asked, server, traffic, samples, objectives)
        speeds += found.speeds
        loads = [] if found.near is None else [report.run_json(found.near, found.near_label, ())]
        more = {"capacity": found.to_json(asked.slo or ""), "exit_code": report.of_search(found.valid, found.why)}
    else:
        loads = runs.all_of(asked, server, traffic, samples, objectives, speeds)
        more = {"variants": compare.variants(loads)}
    speeds.append(calibrate())
    return _assembled(asked, "capacity" if asked.find_capacity else "load", speeds, target, loads, **more)


def _assembled(
    asked: Options, kind: str, speeds: list[Speed], target: report.Json, loads: list[report.Json], **more: object
) -> report.Json:
    told = {name: value for name, value in dataclasses.asdict(asked).items() if value not in (None, (), "", False)}
    here = environment.here(speeds)
    return report.assemble(kind, options=told, target=target, environment=here, runs=loads, **more)
