"""A process of the server, as its supervisor sees it: started, told what it has to know, ended.

It inherits descriptors and nothing else: its end of a link, over which the first message tells it all the rest, the
sockets it listens on, the shared counters, and a door for connections with other processes.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.engine.door import Door
from serving.engine.link import Link
from serving.settings import Settings

_SOURCES = str(Path(__file__).parents[1])


@dataclass(frozen=True, slots=True)
class Role:
    """What a process is for: the program it runs, whether it takes connections from clients, whether it opens models."""

    name: str
    program: str
    listens: bool
    opens_models: bool


#: A complete server; or a server without models, and the engine that several of them share.
WORKER = Role("worker", "serving.worker", listens=True, opens_models=True)
FRONTEND = Role("frontend", "serving.frontend_process", listens=True, opens_models=False)
ENGINE = Role("engine", "serving.engine_process", listens=False, opens_models=True)


def roles(settings: Settings) -> dict[int, Role]:
    """Return the processes that a server consists of: the engine first, which takes longest to start."""
    if settings.frontends:
        return {0: ENGINE, **dict.fromkeys(range(1, settings.frontends + 1), FRONTEND)}
    return dict.fromkeys(range(settings.workers), WORKER)


class Child:
    """One process."""

    def __init__(self, role: Role, number: int, process: "subprocess.Popen[bytes]", *, link: Link, door: Door) -> None:
        self.role = role
        self.number = number
        self.process = process
        self.link = link
        self.door = door
        self.started = time.monotonic()
        self.loaded = False

    def __str__(self) -> str:
        """Return what it is called in the log."""
        return f"{self.role.name}={self.number}"

    def wait(self) -> float:
        """Wait for its end; return the processor time that it took, in seconds."""
        seconds = 0.0
        with contextlib.suppress(ChildProcessError, OSError):  # somebody else has reaped it
            # Until it is reaped the kernel knows what it took.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            seconds = _cpu_seconds(self.process.pid)
        self.process.wait()
        return seconds

    def close(self) -> None:
        """Close what led to it, once it has ended."""
        self.link.close()
        self.door.close()


def start(role: Role, number: int, settings: Settings, inherited: Sequence[int], **facts: object) -> Child:
    """Start a process that inherits these descriptors and is told these facts; raise OSError."""
    ours, theirs = socket.socketpair()
    door, their_door = Door.pair()
    with theirs, their_door:
        try:
            process = subprocess.Popen(  # noqa: S603 - this very program, and the number of a descriptor
                [sys.executable, "-m", role.program, str(theirs.fileno())],
                pass_fds=[theirs.fileno(), their_door.fileno(), *inherited],
                stdin=subprocess.DEVNULL,
                # A terminal's Ctrl-C is for the supervisor, which tells its processes.
                start_new_session=True,
                env=_environment(settings),
            )
        except OSError:
            ours.close()
            door.close()
            raise
        child = Child(role, number, process, link=Link(ours), door=door)
        told = settings.model_dump(mode="json", exclude={"tls_key_password"})
        child.link.send(number=number, door=their_door.fileno(), settings=told, **facts)
    return child


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its threads, user's and system's: proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment(settings: Settings) -> dict[str, str]:
    """Return a process's environment: the very sources that run here, and the one secret, which no command line shows."""
    path = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))
    password = settings.tls_key_password
    secret = {} if password is None else {"SAMEWAY_TLS_KEY_PASSWORD": password.get_secret_value()}
    return {**os.environ, "PYTHONPATH": path, **secret}
