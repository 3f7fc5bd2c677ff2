"""Descriptors of files, of which every connection takes one: as many as this process may have, and refused before a load if
they cannot do.
"""

import contextlib
import resource

from loadtests.plan import Plan
from loadtests.server import CannotRun

#: What a process of the generator has open besides its connections.
RESERVED = 64


def raise_limit() -> int:
    """Raise the soft limit to the hard one, which needs no rights; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def most_connections() -> int:
    """Return how many connections one process of the generator can have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, hard - RESERVED)


def check(plan: Plan) -> None:
    """Raise CannotRun for a closed load with more connections than there can be."""
    users = round(plan.profile.highest)
    if plan.open_load or -(-users // plan.processes) <= (most := most_connections()):
        return
    expected = f"up to {most:,} for each process, by the limit of descriptors (`ulimit -n`) less {RESERVED}"
    raise CannotRun(f"users: expected {expected}; found {users:,} in {plan.processes} (--processes)")
