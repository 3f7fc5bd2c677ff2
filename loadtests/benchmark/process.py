"""A side's server as a process: started, asked, and what it and all its children have used of the processor and memory."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from loadtests.benchmark.side import CannotRun, Exchange, Side
from models.tensors import Array

HOST = "127.0.0.1"

#: Importing a framework on a busy machine; nobody waits for so long where all is well.
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.05


class Running:
    """One running server."""

    def __init__(self, side: Side, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.side = side
        self.port = port
        self._process = process

    def verify(self, exchange: Exchange, expected: Array) -> None:
        """Raise CannotRun unless the server answers as the model itself does."""
        try:
            exchange.check(*self._ask("POST", exchange.path, exchange.body, dict(exchange.headers)), expected)
        except (OSError, http.client.HTTPException) as error:
            raise CannotRun(f"{self.side.name}: no answer to {exchange.path}: {error}") from error
        except CannotRun as error:
            raise CannotRun(f"{self.side.name}: {error}") from error

    def cpu_seconds(self) -> float:
        """Return the processor time that the process, its children and those of them that have ended have used."""
        # utime, stime, and both of children waited for: fields 14 to 17 of proc(5).
        ticks = sum(sum(map(int, _stat(pid)[11:15])) for pid in self._pids())
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """Return the most memory that the process and its children have held, each at its own time."""
        lines = [line for pid in self._pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def is_ready(self) -> bool:
        """Tell whether the server says that it serves; raise CannotRun if it has ended."""
        if self._process.poll() is not None:
            raise CannotRun(f"{self.side.name}: the server ended with code {self._process.returncode}")
        try:
            return self._ask("GET", self.side.ready)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """End the server."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def _pids(self) -> list[int]:
        """Return the process and its descendants."""
        found, new = [], [self._process.pid]
        while new:
            found += new
            new = [child for pid in new for child in _children(pid)]
        return found


@contextlib.contextmanager
def running(side: Side) -> Iterator[Running]:
    """Run a side's server until the block ends, ready when it begins; raise CannotRun with its log where it is not."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAMEWAY_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [word.format(port=port) for word in side.command],
            cwd=side.folder,
            env={**environment, "PYTHONPATH": str(side.folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        server = Running(side, process, port)
        try:
            end = time.monotonic() + _START_SECONDS
            while not server.is_ready():
                if time.monotonic() > end:
                    raise CannotRun(f"{side.name}: the server is not ready after {_START_SECONDS:g} s")
                time.sleep(_LOOK_SECONDS)
            yield server
        except CannotRun as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()[-10:]
            raise CannotRun("\n".join([str(error), *lines])) from error
        finally:
            server.stop()


def _stat(pid: int) -> list[str]:
    """Return a process's figures from the state on: what is before is a name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
