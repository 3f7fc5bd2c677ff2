"""Real servers for the suite: started as a person would start them, found by their log, stopped by SIGTERM."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]

SERVE = ("cli.py", "serve")

#: By the engine that SAMEWAY_CONFORMANCE_ENGINE names, what servers are started with: the suite is the same for all.
ENGINES: Mapping[str, Sequence[str]] = {
    "local": (),
    "ray": ("--engine", "ray", "--ray-replicas", "2", "--ray-models", "64", "--ray-cpus", "0.1"),
}

#: For a start on a machine that does other things too. Nobody waits for it where all is well.
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server to be asked. `pid` and `log` are there where the suite has started it."""

    url: str
    pid: int | None = None
    log: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The host it listens on."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port it listens on."""
        return urlsplit(self.url).port or 80

    @property
    def authority(self) -> str:
        """Host and port, as clients name them."""
        return urlsplit(self.url).netloc

    def memory_bytes(self) -> int:
        """Return the most memory its process has held at once since `forget_memory`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def forget_memory(self) -> None:
        """Let `memory_bytes` begin anew from what the process holds now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


class Process:
    """A server in a process of its own. Its log is read all the time, so that a full pipe stops nobody."""

    def __init__(self, command: Sequence[str], *, started: Callable[[str], str | None], settings: Mapping[str, str]) -> None:
        """Start it; `started` returns its address for the line of its log that tells it, and is asked until then."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SAMEWAY_")}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started = started
        self._url: str | None = None
        self._told = threading.Event()
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> Server:
        """Return the server once its log says that it is ready."""
        if not self._told.wait(_START_SECONDS) or self._url is None:
            self.stop()
            raise RuntimeError("the server did not start:\n" + "\n".join(self.log))
        return Server(self._url, self._process.pid, self.log)

    def stop(self) -> int:
        """End it and return its exit status."""
        self._process.terminate()
        try:
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip("\n"))
            if self._url is None and (url := self._started(line)) is not None:
                self._url = url
                self._told.set()
        self._told.set()


class _Loaded:
    """Knows a server's address when it has told it, and gives it away when the models are loaded too."""

    def __init__(self) -> None:
        self._url: str | None = None
        self._loaded = False

    def __call__(self, line: str) -> str | None:
        """Look at a line of the log."""
        if "event=listening" in line:
            self._url = line.split("url=")[1].strip()
        self._loaded = self._loaded or "event=loaded" in line
        return self._url if self._loaded else None


def sameway(*arguments: str, program: Sequence[str] = SERVE) -> Process:
    """Start `sameway serve` on a free port of this machine."""
    engine = os.environ.get("SAMEWAY_CONFORMANCE_ENGINE", "local")
    # A server of limits of its own is put together without settings, and one of several processes has their engine.
    chosen = ENGINES[engine] if program == SERVE and "--frontends" not in arguments else ()
    command = [*program, "--port", "0", "--drain-delay-seconds", "0", *arguments, *chosen]
    return Process(command, started=_Loaded(), settings={})
