"""The generator as processes of their own: started, watched, ended; and all they have recorded.

Locust patches the standard library where it is imported, and its processor time must be told from the server's and from
ours. Whoever presses Ctrl-C ends the load, not the report: the generator is in a session of its own, and is asked to stop.
"""

import contextlib
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

from loadtests import records, samples_file
from loadtests.bodies import Sample
from loadtests.metrics import Readings, watching
from loadtests.plan import Plan
from loadtests.server import CannotRun, Server
from models.tensors import Array

LOCUSTFILE = Path(__file__).parent / "locustfile.py"

_WATCH_SECONDS = 0.5
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
    interrupted: bool = False

    @property
    def started(self) -> float:
        """When the first process began, in seconds since the epoch; 0 where none did."""
        return min((facts["started"] for facts in self.facts if "started" in facts), default=0.0)

    @property
    def stopped(self) -> str | None:
        """Why the generator ended the load before its time, if it did."""
        return next((facts["stopped"] for facts in self.facts if "stopped" in facts), None)


def run(
    plan: Plan, samples: Mapping[str, list[Sample]], server: Server, *, web_port: int | None = None, progress: bool = True
) -> Load:
    """Put the load of a plan on the server and return what came of it; after Ctrl-C, what there is until then.

    Raise CannotRun where the generator ends without having sent anything.
    """
    with tempfile.TemporaryDirectory(prefix="sameway-load-") as name:
        folder = Path(name)
        kept = folder / "records"
        kept.mkdir()
        plan.write(folder / "plan.json")
        samples_file.save(folder / "samples.npz", samples)
        with watching(server) as readings, (folder / "log").open("w+b") as log:
            process = subprocess.Popen(  # noqa: S603 - our own words
                _command(plan, folder, kept, web_port=web_port, progress=progress),
                stdin=subprocess.DEVNULL, stdout=log, stderr=None if progress else log, start_new_session=True,
            )  # fmt: skip
            with _watched(process) as busy:
                interrupted = _wait(process, plan)
            log.seek(0)
            said = log.read().decode(errors="replace")
        found, facts = records.read(kept)
        if progress:
            print(file=sys.stderr)  # noqa: T201 - ends the line of progress
        if not any("started" in one for one in facts) and not interrupted:
            raise CannotRun(f"Locust ended with code {process.returncode} and without figures\n{said[-2000:]}")
        failed = next((one["stopped"] for one in facts if one.get("stopped", "").startswith(records.FAILED)), None)
        if failed is not None:
            raise CannotRun(failed)
        return Load(plan, found, facts, readings, busy, interrupted)


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


def _wait(process: "subprocess.Popen[bytes]", plan: Plan) -> bool:
    """Wait until the generator has ended; return whether somebody pressed Ctrl-C first."""
    # Starting Locust takes seconds on a busy machine; nobody waits for so long where all is well.
    patience = plan.profile.seconds + 2 * plan.timeout_seconds + 3 * _END_SECONDS
    interrupted = False
    try:
        process.wait(patience)
    except (KeyboardInterrupt, subprocess.TimeoutExpired) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        _end(process, plan.timeout_seconds + _END_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return interrupted


def _end(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """Ask the generator to end, and see that it does; a second Ctrl-C makes it end at once."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        for child in _family(process.pid):
            with contextlib.suppress(psutil.Error):
                child.kill()
        process.wait()


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
