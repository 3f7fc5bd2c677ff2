"""The generator as processes of their own: started, watched, ended; and all they have recorded.

Locust patches the standard library where it is imported, and its processor time must be told from the server's and from
ours. Whoever presses Ctrl-C ends the load, not the report: the generator is in a session of its own, and is asked to stop.
It does not outlive the command (tied.py), and where it ends before its time, what it has measured is told all the same.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from loadtests import descriptors, records, samples_file
from loadtests.bodies import Sample
from loadtests.interrupts import Interrupts, current
from loadtests.metrics import Readings, watching
from loadtests.plan import Plan
from loadtests.server import CannotRun, Server
from models.tensors import Array

LOCUSTFILE = Path(__file__).parent / "locustfile.py"

#: What the folder is called in which a load keeps its plan, samples and records.
FOLDER = "sameway-load-"

_WATCH_SECONDS, _LOOK_SECONDS = 0.5, 0.5
#: After the load: the last answers, Locust's own end, and its statistics.
_END_SECONDS = 20.0


@dataclass(slots=True)
class Load:
    """What one load left: every record, facts of each process, the server's metrics, and the generator's processor time."""

    plan: Plan
    records: Array
    facts: list[dict[str, Any]]  # Any: JSON
    metrics: Readings
    #: Moments, and the share of a core that the busiest process of the generator used in the time before.
    busy: list[tuple[float, float]] = field(default_factory=list)
    #: What ended the load before its time, in words with the moment, where it was a signal to the command.
    interrupted: str | None = None
    #: How a process of the generator ended before the load did, if one did.
    ended: str | None = None

    @property
    def started(self) -> float:
        """When the first process began, in seconds since the epoch; 0 where none did."""
        return min((facts["started"] for facts in self.facts if "started" in facts), default=0.0)

    @property
    def stopped(self) -> str | None:
        """Why the generator ended the load before its time, if it did."""
        return next((facts["stopped"] for facts in self.facts if "stopped" in facts), self.ended)


def run(
    plan: Plan, samples: Mapping[str, list[Sample]], server: Server, *, web_port: int | None = None, progress: bool = True
) -> Load:
    """Put the load of a plan on the server and return what came of it; after a signal, what there is until then.

    Raise CannotRun where the generator ends without having sent anything, and where there are not enough descriptors for it.
    """
    descriptors.check(plan)
    with tempfile.TemporaryDirectory(prefix=FOLDER, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        kept = folder / "records"
        kept.mkdir()
        plan.write(folder / "plan.json")
        samples_file.save(folder / "samples.npz", samples)
        interrupts = current()
        with watching(server) as readings, (folder / "log").open("w+b") as log:
            if interrupts.heard is not None:
                return Load(plan, *records.read(kept), readings, [], interrupts.heard)
            process = subprocess.Popen(  # noqa: S603 - our own words
                _command(plan, folder, kept, web_port=web_port, progress=progress),
                stdin=subprocess.PIPE, stdout=log, stderr=None if progress else log, start_new_session=True,
            )  # fmt: skip
            with _ending(process), _watched(process) as busy:
                interrupted, hung = _wait(process, plan, interrupts)
            log.seek(0)
            said = log.read().decode(errors="replace")
            found, facts = records.read(kept)
        if progress:
            print(file=sys.stderr)  # noqa: T201 - ends the line of progress
        if not any("started" in one for one in facts) and interrupted is None:
            raise CannotRun(f"Locust ended with code {process.returncode} and without figures\n{said[-2000:]}")
        failed = next((one["stopped"] for one in facts if one.get("stopped", "").startswith(records.FAILED)), None)
        if failed is not None and not len(found):
            raise CannotRun(failed)
        ended = None if interrupted else _ended(process, facts, plan, hung=hung)
        return Load(plan, found, facts, readings, busy, interrupted, ended)


def _command(plan: Plan, folder: Path, kept: Path, *, web_port: int | None, progress: bool) -> list[str]:
    """Return the words that start Locust."""
    page = ["--autostart", "--autoquit", "1", "--web-host", "127.0.0.1", "--web-port", str(web_port)]
    return [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", plan.url, "--skip-log-setup", "--only-summary",
        "--stop-timeout", str(round(plan.timeout_seconds + 2)), "--users", str(max(1, round(plan.profile.highest))),
        "--plan", str(folder / "plan.json"), "--samples", str(folder / "samples.npz"), "--records", str(kept),
        *(["--processes", str(plan.processes)] if plan.processes > 1 else []),
        *(["--progress"] if progress else []),
        *(["--headless"] if web_port is None else page),
    ]  # fmt: skip


def _wait(process: "subprocess.Popen[bytes]", plan: Plan, interrupts: Interrupts) -> tuple[str | None, bool]:
    """Wait until the generator has ended; return which signal came first, if one did, and whether the generator hung."""
    # Starting Locust takes seconds on a busy machine; nobody waits for so long where all is well.
    patience = plan.profile.seconds + 2 * plan.timeout_seconds + 3 * _END_SECONDS
    deadline = time.monotonic() + patience
    while process.poll() is None and interrupts.heard is None and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    interrupted, hung = interrupts.heard, False
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(plan.timeout_seconds + _END_SECONDS)
        except subprocess.TimeoutExpired:
            hung = True
    return interrupted, hung


@contextlib.contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End the generator with the block, and all processes of it: one may have been killed, and left the others."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # none of them is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr] # a pipe


def _ended(process: "subprocess.Popen[bytes]", facts: list[dict[str, Any]], plan: Plan, *, hung: bool) -> str | None:
    """Return how the generator ended where it was not in order; None where it was. Any: JSON."""
    if hung:
        return f"{records.ENDED}: it hung"
    code = process.returncode
    if code is not None and code < 0:
        return f"{records.ENDED} by signal {-code}"
    begun = [one for one in facts if "started" in one]
    if lost := len([one for one in begun if not one.get("closed")]):
        return f"{records.ENDED}: {lost} of {plan.processes} processes did not come to an end of its own"
    return None


@contextlib.contextmanager
def _watched(process: "subprocess.Popen[bytes]") -> Iterator[list[tuple[float, float]]]:
    """Note every half second how much of a core the busiest process of the generator uses."""
    busy: list[tuple[float, float]] = []
    enough = threading.Event()

    def watch() -> None:
        before: dict[int, float] = {}
        then = time.monotonic()
        while not enough.wait(_WATCH_SECONDS):
            used: dict[int, float] = {}
            for child in _family(process.pid):
                with contextlib.suppress(psutil.Error):
                    times = child.cpu_times()
                    used[child.pid] = times.user + times.system
            now = time.monotonic()
            shares = [(seconds - before[pid]) / (now - then) for pid, seconds in used.items() if pid in before]
            busy.append((time.time(), max(shares, default=0.0)))
            before, then = used, now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield busy
    finally:
        enough.set()
        thread.join()


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all it has started; none where it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []
