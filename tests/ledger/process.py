"""The real server as a process of its own: started, waited for by what it logs, stopped, and its exit code looked at."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Seconds: importing a framework and opening a model on a busy machine; finishing what was accepted.
_STARTS_SECONDS, _STOPS_SECONDS = 60, 30


@dataclass(slots=True)
class Process:
    """A running server: where it listens, and what it has logged."""

    host: str
    port: int
    log: list[str] = field(default_factory=list)

    def errors(self) -> list[str]:
        """Return what it logged as an error: nothing, if all is well."""
        return [line for line in self.log if "level=ERROR" in line or "Traceback" in line]


@contextlib.contextmanager
def serving(repository: Path, *, frontend: str, program: Sequence[str] = ("cli.py",)) -> Iterator[Process]:
    """Serve a repository until the block ends. `program` is a script or a module that takes the command line's words."""
    words = ["serve", "--repository", str(repository), "--port", "0", "--frontend", frontend, "--drain-delay-seconds", "0"]
    child = subprocess.Popen(
        [sys.executable, *program, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process = _started(child)
        yield process
        child.send_signal(signal.SIGTERM)
        code = child.wait(_STOPS_SECONDS)
        if code != 0:
            raise RuntimeError(f"the server ended with {code}: {process.log[-20:]}")
    finally:
        child.kill()
        child.wait()


def _started(child: "subprocess.Popen[str]") -> Process:
    """Return the process once it listens and has loaded its models; its log is read from then on, too."""
    log: list[str] = []
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert child.stderr is not None
        with child.stderr as stderr:
            for line in stderr:
                log.append(line)
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, name="server-log", daemon=True).start()
    address = loaded = None
    while address is None or loaded is None:
        try:
            line = lines.get(timeout=_STARTS_SECONDS)
        except queue.Empty:
            line = ""
        address = address or re.search(r"event=listening url=http://(\S+):(\d+)", line)
        loaded = loaded or re.search(r"event=loaded models=1 ready=(\d)", line)
        if not line or (loaded and loaded[1] != "1"):
            raise RuntimeError(f"the server did not start: {''.join(log)}")
    return Process(address[1], int(address[2]), log)
