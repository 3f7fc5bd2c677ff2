"""How many threads to compute on: what the machine has, this process may use, and a neighbour can do without."""

import os
from pathlib import Path

#: Where a container sees its share of the processor (cgroup v2): "200000 100000" are two cores' time, "max" is no limit.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

#: Threads a core beyond which no measurement could want more; a million of them end the process with a segmentation fault.
_MOST_PER_CORE = 4


def most_threads() -> int:
    """Return the number of threads above which asking for more is a slip."""
    return _MOST_PER_CORE * len(os.sched_getaffinity(0))


def sensible_threads(quota_file: Path = _QUOTA) -> int:
    """Return all cores that this process may use but one, and one at least.

    OpenMP's threads spin while they wait for each other, so a thread that is kept from its core slows every step down:
    `digits` on two cores, one of them busy, took 145 s on two threads and 40 s on one.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(quota_file)
    return max(1, (cores if quota is None else min(cores, quota)) - 1)


def _quota(file: Path) -> int | None:
    """Return the whole cores of the container's share, or None without a limit."""
    try:
        quota, period = file.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):  # not in a container, "max", or another kind of system
        return None
