"""A side's server as a process: started, asked, stopped for a while, and what it and all its children have used."""

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

from loadtests.benchmark import tree
from loadtests.benchmark.model import Published
from loadtests.benchmark.side import CannotRun, Exchange, Side
from models.tensors import Array

HOST = "127.0.0.1"

#: Importing a framework on a busy machine; nobody waits for so long where all is well.
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.05
#: An executing thread takes a core, on a crowded machine a part of one. A server that polls while it waits never looks
#: idle; a batch of what clients left behind is done in so long.
_SETTLE_SECONDS = 2.0
_IDLE_SHARE = 0.1
_LOG_LINES = 12


class Running:
    """One running server."""

    def __init__(self, side: Side, process: "subprocess.Popen[bytes]", port: int, *, log: Path) -> None:
        self.side = side
        self.port = port
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The first process of the server."""
        return self._process.pid

    def verify(self, exchange: Exchange, expected: Array) -> None:
        """Raise CannotRun unless the server answers as the model itself does."""
        try:
            exchange.check(*self._ask(exchange), expected)
        except (OSError, http.client.HTTPException) as error:
            raise CannotRun(f"{self.side.name}: no answer to {exchange.path}: {error or type(error).__name__}") from error
        except CannotRun as error:
            raise CannotRun(f"{self.side.name}: {error}") from error

    def wait_until_ready(self, exchange: Exchange) -> None:
        """Return once the server answers a request; raise CannotRun, with the end of its log, where it does not."""
        end = time.monotonic() + _START_SECONDS
        found = "nothing listens"
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise self._cannot_start(f"the server ended with code {self._process.returncode}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _, body = self._ask(exchange)
                if status == 200:
                    return
                found = f"it answers {status} {body[:100]!r}"
            time.sleep(_LOOK_SECONDS)
        raise self._cannot_start(f"the server is not ready after {_START_SECONDS:g} s: {found}")

    def cpu_seconds(self) -> float:
        """Return the processor time that the process, its children and those of them that have ended have used."""
        return tree.cpu_seconds(self._process.pid)

    def idle_share(self, seconds: float) -> float:
        """Return the share of a core that it uses while nobody asks, looking for so long."""
        before, began = tree.running_seconds(self._process.pid), time.monotonic()
        time.sleep(seconds)
        return (tree.running_seconds(self._process.pid) - before) / (time.monotonic() - began)

    def peak_bytes(self) -> int:
        """Return the most memory that the process and its children have held, each at its own time."""
        return tree.peak_bytes(self._process.pid)

    def pause(self) -> None:
        """Stop every process of the server, the first one first, so that none sees another one missing.

        Before, what clients have left behind is finished: a batch stopped in the middle would look as if it hung.
        """
        end = time.monotonic() + _SETTLE_SECONDS
        while self.idle_share(_LOOK_SECONDS) > _IDLE_SHARE and time.monotonic() < end:
            pass
        for pid in tree.pids(self._process.pid):
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, the first process last: by the time a supervisor looks, its workers answer."""
        for pid in reversed(tree.pids(self._process.pid)):
            _signal(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server, and whatever of it would stay behind."""
        members = {pid: tree.started(pid) for pid in tree.pids(self._process.pid)}
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        end = time.monotonic() + _STOP_SECONDS
        while left := [pid for pid, started in members.items() if started and tree.started(pid) == started]:
            for pid in left:
                _signal(pid, signal.SIGKILL)
            if time.monotonic() > end:
                break
            self._process.poll()  # so that it is no longer there once it has ended
            time.sleep(_LOOK_SECONDS)
        self._process.wait()

    def _ask(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", exchange.path, exchange.body, dict(exchange.headers))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def _cannot_start(self, what: str) -> CannotRun:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return CannotRun("\n".join([f"{self.side.name}: {what}", *lines]))


@contextlib.contextmanager
def running(side: Side, published: Published, images: Array) -> Iterator[Running]:
    """Run a side's server around a model until the block ends, ready when it begins; raise CannotRun where it is not."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    meant = {"port": port, "model": published.file, "repository": published.repository, "shared": published.shared}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAMEWAY_")}
    given = {name: value.format(**meant) for name, value in side.environment.items()}
    with tempfile.TemporaryDirectory(prefix="benchmark-log-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own words
                [word.format(**meant) for word in side.command],
                cwd=side.folder,
                env={**inherited, "PYTHONPATH": str(side.folder), **given},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the benchmark, which then stops its servers one by one.
                start_new_session=True,
            )
        server = Running(side, process, port, log=log)
        try:
            server.wait_until_ready(next(iter(side.exchanges.values()))(images))
            yield server
        finally:
            server.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
