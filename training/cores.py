"""How many threads to compute on: what the machine has, this process may use, and a neighbour can do without."""

import os

from models.machine import usable_cores

#: Threads a core beyond which no measurement could want more; a million of them end the process with a segmentation fault.
_MOST_PER_CORE = 4


def most_threads() -> int:
    """Return the number of threads above which asking for more is a slip."""
    return _MOST_PER_CORE * len(os.sched_getaffinity(0))


def sensible_threads() -> int:
    """Return all cores that this process may use but one, and one at least.

    OpenMP's threads spin while they wait for each other, so a thread that is kept from its core slows every step down:
    `digits` on two cores, one of them busy, took 145 s on two threads and 40 s on one.
    """
    return max(1, usable_cores() - 1)
