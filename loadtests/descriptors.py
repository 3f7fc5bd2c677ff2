"""Descriptors of files, of which every connection takes one: as many as this process may have, and refused before a load if
they cannot do.
"""

import contextlib
import resource

from loadtests.plan import Plan
from loadtests.server import CannotRun

#: What a process of the generator has open besides its connections.
RESERVED = 64

#: Connections of an open load: enough at first for what is under way when answers take so long, and no fewer than so many.
USUAL_SECONDS, FEWEST = 0.05, 8
#: With more than this, or than there can be descriptors, requests wait, and their latencies grow.
MOST = 4000


class TooFew(CannotRun):
    """There are not enough descriptors for a load; the message says how many there can be, and what was asked for."""


def at_first(rate: float) -> int:
    """Return how many connections an open load begins with in one process, of so many arrivals per second."""
    return min(MOST, max(FEWEST, round(rate * USUAL_SECONDS)))


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
    """Raise TooFew for users who cannot all be connected, and for a rate that is too high even where answers take 50 ms."""
    most = most_connections()
    limit = f"by the limit of descriptors (`ulimit -n`) less {RESERVED}"
    if plan.open_load:
        rate = plan.profile.highest / plan.processes
        if (needed := at_first(rate)) > most:
            raise TooFew(
                f"rate: expected at least {needed:,} connections for {rate:,.5g} arrivals/s of each process, found up to "
                f"{most:,}, {limit} (`ulimit -n` more, or --processes)"
            )
    elif -(-(users := round(plan.profile.highest)) // plan.processes) > most:
        expected = f"up to {most:,} for each process, {limit}"
        raise TooFew(f"users: expected {expected}; found {users:,} in {plan.processes} (--processes)")
