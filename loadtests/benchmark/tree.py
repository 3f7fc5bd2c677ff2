"""A process and its descendants in /proc: who they are, and what of the processor and of memory they have used."""

import contextlib
import os
from pathlib import Path


def pids(root: int) -> list[int]:
    """Return a process and its descendants, parents before their children."""
    found, new = [], [root]
    while new:
        found += new
        new = [child for pid in new for child in _children(pid)]
    return found


def cpu_seconds(root: int) -> float:
    """Return the processor time of a process, its descendants, and those of them that have ended and been waited for."""
    # utime, stime, and both of children waited for: fields 14 to 17 of proc(5).
    ticks = sum(int(field) for pid in pids(root) for field in _stat(pid)[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def running_seconds(root: int) -> float:
    """Return the processor time of the threads that live, exact to a nanosecond: a tick is too much for an idle server."""
    spent = 0
    for pid in pids(root):
        for task in _tasks(pid):
            with contextlib.suppress(OSError):
                spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def peak_bytes(root: int) -> int:
    """Return the most memory that a process and its descendants have held, each at its own time.

    Pages that several of them share are counted for each.
    """
    lines: list[str] = []
    for pid in pids(root):
        with contextlib.suppress(OSError):
            lines += Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def started(pid: int) -> int | None:
    """Return when a process began, in the kernel's ticks, or None where there is none: a number may be used again."""
    found = _stat(pid)
    return int(found[19]) if found and found[0] != "Z" else None


def _stat(pid: int) -> list[str]:
    """Return a process's figures from the state on, none where it has ended: what is before is a name of any letters."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found
