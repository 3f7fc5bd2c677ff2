"""`sameway serve` in a process of its own: started, ready, looked at, stopped, killed, started again on its port.

A proof measures what an operator would run, so this starts the real command and knows it by its log, its health routes
and /proc alone.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]

#: Importing a framework and opening a model on a busy machine. Nobody waits so long where all is well.
_START_SECONDS = 60.0
#: Drain delay, drain and the loading thread, with their defaults, take 16 seconds at most.
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.02


class ServerError(Exception):
    """The server did not do what a proof needs of it; the message ends with its log."""


class Server:
    """One server process. `start` and `again` begin one; it is ended by `stop` or `kill`, or by leaving `running`."""

    def __init__(self, process: "subprocess.Popen[str]", command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = process
        self.log: list[str] = []
        self.host, self.port = "", 0
        self._command = list(command)
        self._environment = dict(environment)
        self._listening = threading.Event()
        # The log is read all the time, so that a full pipe stops nobody.
        self._reader = threading.Thread(target=self._read, name="server-log", daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        repository: Path,
        *flags: str,
        frontend: str = "fastapi",
        port: int = 0,
        program: Sequence[str] = ("cli.py",),
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a server and return it once it listens; `port` 0 takes any free one, `program` stands for `sameway`.

        Settings reach it by `flags` and `environment` only: SAMEWAY_ variables of this process are not handed on.
        """
        words = ["serve", "--repository", str(repository), "--frontend", frontend, "--port", str(port), *flags]
        return cls._begin([sys.executable, *program, *words], environment or {})

    @classmethod
    def _begin(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAMEWAY_")}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        server = cls(process, command, environment)
        server._listening.wait(_START_SECONDS)
        if not server.port:
            server.kill()
            raise server.error("the server did not start")
        return server

    def again(self) -> Self:
        """Start a server with the same flags on the same port; this one must have ended."""
        command = list(self._command)
        command[command.index("--port") + 1] = str(self.port)
        return self._begin(command, self._environment)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as clients name them."""
        return f"{self.host}:{self.port}"

    def ready(self) -> Self:
        """Wait until the server is ready, and return it."""
        self.until(lambda: self.ask("/v2/health/ready")[0] == 200, "ready")
        return self

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = _START_SECONDS) -> None:
        """Look again and again until a condition holds; raise ServerError where it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise self.error(f"the server is not {what}")
            time.sleep(_LOOK_SECONDS)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer, on a connection of its own; raise OSError where there is none."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_STOP_SECONDS) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def statistics(self, model: str) -> dict[str, Any]:  # Any: JSON
        """Return what the statistics extension says of a model's newest version."""
        status, body = self.ask(f"/v2/models/{model}/stats")
        if status != 200:
            raise self.error(f"statistics were answered {status}")
        found: dict[str, Any] = json.loads(body)["model_stats"][-1]
        return found

    def executed_rows(self, model: str) -> int:
        """Return how many rows a model's sessions have computed."""
        return int(self.statistics(model)["inference_count"])

    def resident_bytes(self) -> int:
        """Return the memory that its processes hold now."""
        return sum(_status(pid, "VmRSS") for pid in self.pids()) * 1024

    def cpu_seconds(self) -> float:
        """Return the processor time its process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        """Return how many threads its processes have."""
        return sum(_status(pid, "Threads") for pid in self.pids())

    def descriptors(self) -> int:
        """Return how many file descriptors its processes have open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())

    def pids(self) -> list[int]:
        """Return its processes: the one that was started, and its workers."""
        return [self.process.pid, *self.children()]

    def children(self) -> list[int]:
        """Return the processes it has started and that still run."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def started(self, role: str) -> list[int]:
        """Return those of its processes that run and that its log calls worker, frontend or engine, the oldest first."""
        told = (re.search(rf"event={role}_started {role}=\d+ pid=(\d+)", line) for line in self.log)
        living = self.children()
        return [pid for pid in (int(one[1]) for one in told if one) if pid in living]

    def clients_of(self, pid: int) -> set[int]:
        """Return the ports at the other end of the connections that one of its processes has accepted."""
        sockets = set(_descriptors(pid))
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        found = ((line.split()[1], line.split()[2], f"socket:[{line.split()[9]}]") for line in lines)
        ours = f":{self.port:04X}"
        return {int(theirs.split(":")[1], 16) for mine, theirs, name in found if mine.endswith(ours) and name in sockets}

    def logged(self, event: str) -> int:
        """Return how often it has logged an event."""
        return sum(f"event={event} " in f"{line} " for line in self.log)

    def errors(self) -> list[str]:
        """Return what it has logged as an error: nothing, if all is well."""
        return [line for line in self.log if "level=ERROR" in line or "Traceback" in line]

    def stop(self) -> int:
        """End it as an orchestrator does, with SIGTERM, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error("the server did not stop") from None
        return self._ended()

    def kill(self) -> int:
        """End it with SIGKILL, as the kernel does when memory is short; return its exit code."""
        self.process.kill()
        self.process.wait()
        return self._ended()

    def error(self, what: str) -> ServerError:
        """Return an error that shows the end of the log."""
        return ServerError("\n".join([what, *self.log[-20:]]))

    def _ended(self) -> int:
        self._reader.join(_STOP_SECONDS)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return self.process.returncode

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if not self.port and (found := re.search(r"event=listening url=http://(\S+):(\d+)", line)):
                self.host, self.port = found[1], int(found[2])
                self._listening.set()
        self._listening.set()


def machine_cpu_seconds() -> float:
    """Return the processor time that everything on this machine has used, all cores together."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has waited for yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])


def _descriptors(pid: int) -> Iterator[str]:
    """Yield what a process's descriptors are of, without those that go while they are being looked at."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield str(path.readlink())


@contextlib.contextmanager
def running(
    repository: Path, *flags: str, frontend: str = "fastapi", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the block ends, ready when it begins."""
    server = Server.start(repository, "--drain-delay-seconds", "0", *flags, frontend=frontend, environment=environment)
    try:
        yield server.ready()
    finally:
        if server.process.poll() is None:
            server.kill()
