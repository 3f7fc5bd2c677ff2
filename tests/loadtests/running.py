"""`sameway loadtest` as a process that a test sends signals to, and what is left when it has ended."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.serving.live import ROOT

#: Starting Python and Locust on a machine that others use, and more.
PATIENCE_SECONDS = 60.0

#: Where tests run in the background, a shell has told them to ignore Ctrl-C: this one must not.
HEEDING = """
import cli, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
sys.exit(cli.main())
"""


class Running:
    """A load test under way. What it writes is read by threads, as it comes."""

    def __init__(self, *words: str, before: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", before + HEEDING, "loadtest", *words], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.out, self.err = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Any, into: bytearray) -> None:  # Any: a pipe
        while more := os.read(pipe.fileno(), 65536):
            into += more

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Look again and again until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.err.decode()}"
            assert time.monotonic() < deadline, f"not {what}: {self.err.decode()}"
            time.sleep(0.02)

    def says(self, pattern: str) -> None:
        """Wait until it has said something on standard error."""
        self.until(lambda: re.search(pattern, self.err.decode()), pattern)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, within: float = PATIENCE_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        assert b"Traceback" not in self.err, self.err.decode()
        return code

    def family(self) -> list[psutil.Process]:
        """Return the processes that it has started."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def generators(self) -> list[psutil.Process]:
        """Return those of them that generate the load."""
        return [process for process in self.family() if "locust" in " ".join(_command(process))]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


@contextlib.contextmanager
def running(*words: str, before: str = "") -> Iterator[Running]:
    """Run a load test; whatever is left of it when the block ends is killed."""
    one = Running(*words, before=before)
    family: list[psutil.Process] = []
    try:
        yield one
    finally:
        with contextlib.suppress(psutil.Error):
            family = one.family()
        one.process.kill()
        one.process.wait()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for pipe in (one.process.stdout, one.process.stderr):
            for reader in one._readers:
                reader.join(PATIENCE_SECONDS)
            assert pipe is not None
            pipe.close()


def gone(processes: list[psutil.Process], within: float) -> bool:
    """Tell whether all of these have ended by then."""
    _, left = psutil.wait_procs(processes, timeout=within)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in left)


def report(folder: Path) -> dict[str, Any]:  # Any: JSON
    return dict(json.loads((folder / "report.json").read_text()))
