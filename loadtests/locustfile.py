"""Locust users that send samples and check every answer. `sameway loadtest` runs this file; so does Locust alone:

    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 --model digits --users 16 --run-time 20s
    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 --model digits --rate 500 --run-time 20s
    locust … --processes 4          several processes; or --master here and --worker, with the same flags, elsewhere

Locust patches the standard library when it is imported (gevent), so this file is loaded in a process of its own only.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.monkey import get_original
from locust import LoadTestShape, events, task
from locust.exception import StopUser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from loadtests import descriptors, samples_file
from loadtests.asking import Asker
from loadtests.bodies import Sample
from loadtests.generator import Generator
from loadtests.open_load import Pacer
from loadtests.plan import Plan, Traffic
from loadtests.prepare import prepare
from loadtests.records import FAILED, Kind
from loadtests.server import CannotRun, Server
from loadtests.shapes import make
from loadtests.tied import tie
from models.repository import RepositoryError

#: Longer than anybody watches Locust's page.
_FOR_EVER_SECONDS = 1e7

#: A user whose connection was refused tries again, but not as fast as it can.
_BACK_OFF_SECONDS = 0.1

#: By so much a worker's clock may be behind its master's.
_BEHIND_SECONDS = 1.0

#: A pacer that was woken late sends what is due all the same, and ends by itself; this is where it does not.
_LATE_SECONDS = 2.0


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_arguments(parser: Any) -> None:  # Any: Locust is not typed
    """Add the flags that say what is asked for."""
    parser.add_argument("--model", default="digits", help="the model to ask; several by weight: digits=3,language=1")
    parser.add_argument("--payload", default=None, help="json, binary or content; several by weight: json=1,binary=1")
    parser.add_argument("--repository", default=None, help="where golden samples lie; else the server is asked first")
    parser.add_argument("--rate", type=float, default=0, help="open load: arrivals per second, whatever --users says")
    parser.add_argument("--arrivals", default="poisson", choices=["poisson", "constant"], help="how those arrive")
    parser.add_argument("--timeout-seconds", type=float, default=10.0, help="no answer by then is a failure")
    parser.add_argument("--plan", default="", help="a file with all of this, as `sameway loadtest` writes it")
    parser.add_argument("--samples", default="", help="the samples that belong to it")
    parser.add_argument("--records", default="", help="a folder for a record of every request")
    parser.add_argument("--progress", action="store_true", help="tell every second how far it is, on standard error")


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, runner: Any, **_: Any) -> None:
    """Have the generator made when a test starts, here or by a master's word."""
    options = environment.parsed_options
    descriptors.raise_limit()
    if options.records:
        tie(lambda: _orphaned(Path(options.records)), start_thread=get_original("_thread", "start_new_thread"))
        # Locust listens to SIGTERM only once a shape has ended, and would die of it before, with what it has measured.
        # gevent listens as long as somebody has its handler.
        if options.headless:
            environment.ending = gevent.signal_handler(signal.SIGTERM, lambda: _end(environment, runner))
    environment.generator = None
    environment.asked = {}
    if not options.plan:
        # Whoever has been sent is waited for: an answer that is cut off is none of the server's failures.
        environment.stop_timeout = max(environment.stop_timeout or 0.0, options.timeout_seconds + _LATE_SECONDS)
    if isinstance(runner, WorkerRunner) and options.processes:
        gevent.spawn(_end_with_master, runner, os.getppid())
    if not options.plan and options.host and not isinstance(runner, MasterRunner):
        try:
            _prepared(environment, options.host)
        except (CannotRun, RepositoryError) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
    if options.progress and not isinstance(runner, WorkerRunner):
        gevent.spawn(_tell_progress, environment)
    if isinstance(runner, LocalRunner) and options.headless:
        gevent.spawn(_quit_when_over, environment)


def _end(environment: Any, runner: Any) -> None:
    """Send nothing more, and end when all have their answers."""
    if isinstance(runner, LocalRunner) and environment.generator is not None:
        environment.generator.halt()
    else:
        runner.quit()


def _orphaned(kept: Path) -> None:
    """End at once, as whoever wanted the figures has: without an answer awaited, and without a trace on the disk."""
    shutil.rmtree(kept.parent, ignore_errors=True)
    os._exit(1)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def start(environment: Any, **_: Any) -> None:
    """Build all bodies before the first request. A master tells its workers what Locust does not: how long, and how many."""
    options, runner = environment.parsed_options, environment.runner
    if isinstance(runner, MasterRunner):
        options.of_master = {
            "seconds": float(options.run_time or _FOR_EVER_SECONDS),
            "users": int(options.num_users or 1),
            "workers": max(1, runner.worker_count),
        }
    ready(environment)


@events.test_stopping.add_listener  # type: ignore[untyped-decorator]
def about_to_stop(environment: Any, **_: Any) -> None:
    """Send nothing more; what has been sent is waited for, as long as --stop-timeout allows."""
    if environment.generator is not None:
        environment.generator.halt()


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def stop(environment: Any, **_: Any) -> None:
    """Write what there is; the next test, begun on Locust's page, gets a generator of its own."""
    if environment.generator is not None:
        environment.generator.halt()
        environment.generator.close()
        if not environment.parsed_options.plan:
            environment.generator = None


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def interrupted(environment: Any, **_: Any) -> None:
    """Send nothing more."""
    if environment.generator is not None:
        environment.generator.halt()
        environment.generator.close()


def ready(environment: Any) -> Generator:
    """Return the generator, made now if there is none. A master sends nothing, and needs no samples."""
    if environment.generator is None:
        options, runner = environment.parsed_options, environment.runner
        number = max(0, getattr(runner, "worker_index", 0))
        told = getattr(options, "of_master", {})  # Locust gives its workers no --run-time
        if options.plan:
            plan = Plan.read(Path(options.plan))
            samples = {} if isinstance(runner, MasterRunner) else samples_file.load(Path(options.samples))
        else:
            host = environment.host or options.host
            traffic, samples = _prepared(environment, host)
            seconds = float(told.get("seconds") or options.run_time or _FOR_EVER_SECONDS)
            users = int(told.get("users") or options.num_users or 1)
            profile = make("steady", options.rate or float(users), seconds)
            poisson = options.arrivals == "poisson"
            plan = Plan(
                host, traffic, profile, open_load=options.rate > 0, poisson=poisson, timeout_seconds=options.timeout_seconds,
                processes=users if options.rate else 1,
            )  # fmt: skip
        folder = Path(options.records) if options.records else None
        environment.generator = Generator(plan, samples, folder, number=number, workers=told.get("workers", 1))
    generator: Generator = environment.generator
    return generator


def _prepared(environment: Any, host: str) -> tuple[tuple[Traffic, ...], dict[str, list[Sample]]]:
    """Return what a server is asked, found out once: Locust's page may begin many tests, and name other servers."""
    if host not in environment.asked:
        options = environment.parsed_options
        repository = Path(options.repository) if options.repository else None
        environment.asked[host] = prepare(Server(host.rstrip("/")), options.model, options.payload, repository=repository)
    found: tuple[tuple[Traffic, ...], dict[str, list[Sample]]] = environment.asked[host]
    return found


class Levels(LoadTestShape):
    """How many users there are when. In an open load a user is not a client but a pacer, of which each process needs one."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return users and how many to start per second; None at the end."""
        runner: Any = self.runner  # Locust sets it before the first tick
        generator = ready(runner.environment)
        plan = generator.plan
        # On a busy machine the first user begins long after the shape: it is the generator's clock that counts.
        alone = isinstance(self.runner, LocalRunner)
        now = generator.seconds if alone else time.perf_counter() - self.start_time - _BEHIND_SECONDS
        if now >= plan.profile.seconds + (_LATE_SECONDS if plan.open_load else 0.0):
            return None
        if plan.open_load:
            return plan.processes, plan.processes
        users = max(1, round(plan.profile.level(max(0.0, now)) or plan.profile.highest))
        return users, users


class Load(Asker):
    """One user of a closed load, or one pacer of an open one, as the plan says."""

    @task
    def run_on(self) -> None:
        """Send one request, or pace all of them."""
        generator, plan = self.generator, self.generator.plan
        if plan.open_load:
            try:
                Pacer(lambda: Load(self.environment)).run()
            except Exception as error:
                generator.stop(f"{FAILED}: {error!r}")  # Locust would log it, and begin again
                raise
            generator.halt()
            raise StopUser
        started = generator.begin()
        if generator.over:
            raise StopUser
        if self.ask(max(started, time.monotonic())) == Kind.LOST:
            gevent.sleep(_BACK_OFF_SECONDS)


def _quit_when_over(environment: Any) -> None:
    """End as soon as all have their answers: Locust itself looks once a second."""
    while environment.generator is None or not environment.generator.over:
        gevent.sleep(0.02)
    while environment.runner.user_count:
        gevent.sleep(0.02)
    environment.runner.quit()


def _end_with_master(runner: Any, master: int) -> None:
    """End soon after the process that started this one: Locust's own workers wait a minute for a word of it."""
    while os.getppid() == master:
        gevent.sleep(1)
    if runner.environment.generator is not None:
        runner.environment.generator.halt()
        runner.environment.generator.close()
    os._exit(1)


def _tell_progress(environment: Any) -> None:
    """Keep one line up to date until the process ends."""
    started, before = time.monotonic(), 0
    while True:
        gevent.sleep(1)
        total, seconds = environment.stats.total, time.monotonic() - started
        if total.num_requests == before:  # workers tell their master every few seconds only
            continue
        figures = f"{total.num_requests:>9,} requests {total.num_failures:>6,} failed {total.num_requests - before:>7,}/s"
        before = total.num_requests
        sys.stderr.write(f"\r{seconds:>5.0f} s {figures}")
        sys.stderr.flush()
