"""How many servers carry a rate: arithmetic of what one server carries, with room for bursts and for servers that are away.

    python -m loadtests.fleet --rates 10 1000 100000 --cpu-us 61 --cores 2
    python -m loadtests.fleet --rates 10 1000 100000 --capacity 63.5 --cores 2
    python -m loadtests.fleet --rates 10 1000 100000 --report runs/capacity --cores 2

What one server carries has been measured: the processor time of a request (`python -m loadtests.benchmark compare`), or the
capacity that `sameway loadtest --find-capacity` found, of which the lower end of the interval counts. By the utilization law
a server of c cores, whose requests take s seconds of one, is busy for a share λs / c of the time; it is planned for a part
of it (`--busy`), since waiting grows as 1 / (1 − busy). See docs/scaling.md.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: So few that one that restarts is noticed by nobody.
_LEAST = 2
_COLUMNS = (
    "requests/s",
    "servers",
    "cores",
    "busy",
    "busy with servers away",
    "memory, GB",
    "balancer's cores",
    "network, Gbit/s",
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server: the requests per second that it carries at its very limit, its cores, its memory in MB."""

    limit: float
    cores: int
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How servers are used: the share of their limit, and the share of them that may be away at once (at least one is)."""

    busy: float = 0.6
    away: float = 0.1


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers for a rate, and how busy they are: all there, and with as many away as the policy allows."""

    rate: float
    servers: int
    busy: float
    busy_with_some_away: float


def limit_of(cpu_seconds: float, cores: int) -> float:
    """Return the requests per second that fill so many cores: the utilization law at a utilization of 1."""
    return cores / cpu_seconds


def away(servers: int, share: float) -> int:
    """Return how many of so many servers may be away at once: one that restarts or broke, or a share of many."""
    return max(1, math.ceil(servers * share))


def fleet(rate: float, server: Server, policy: Policy) -> Fleet:
    """Return the fewest servers, two at least, of which those that are not away are no busier than the policy says."""
    needed = math.ceil(rate / (server.limit * policy.busy))
    # n − ⌈n·away⌉ ≥ needed as soon as n·(1 − away) ≥ needed.
    servers = max(_LEAST, needed + 1, math.ceil(needed / (1 - policy.away)))
    there = servers - away(servers, policy.away)
    return Fleet(rate, servers, rate / (servers * server.limit), rate / (there * server.limit))


def table(fleets: Sequence[Fleet], server: Server, policy: Policy, *, balancer_seconds: float, bytes_each: float) -> str:
    """Return what each fleet takes, in Markdown; bytes are those of a request and its answer together."""
    lines = [_line(_COLUMNS), _line(["-:"] * len(_COLUMNS))]
    for one in fleets:
        cells = (
            f"{one.rate:,.10g}",
            f"{one.servers:,}",
            f"{one.servers * server.cores:,}",
            _percent(one.busy),
            _percent(one.busy_with_some_away),
            f"{one.servers * server.memory_mb / 1000:,.1f}",
            f"{one.rate * balancer_seconds / policy.busy:,.2g}",
            f"{one.rate * bytes_each * 8 / 1e9:,.2g}",
        )
        lines.append(_line(cells))
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def capacity_of(report: Path) -> float:
    """Return the lower end of the interval that a search for a capacity found; raise ValueError where it found none."""
    file = report / "report.json" if report.is_dir() else report
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--report: expected what `sameway loadtest --report` writes, found {file}: {error}") from error
    capacity = found.get("capacity") if isinstance(found, dict) else None
    low = capacity.get("low") if isinstance(capacity, dict) and capacity.get("valid") is True else None
    if not isinstance(low, int | float) or isinstance(low, bool) or not 0 < low < math.inf:
        raise ValueError(f"--report: expected a search (--find-capacity) that found a capacity, found none in {file}")
    return float(low)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table and return 0, or 2 where what is asked for is no plan."""
    arguments = _arguments(words)
    try:
        if arguments.report is not None:
            limit = capacity_of(arguments.report)
        else:
            limit = arguments.capacity or limit_of(arguments.cpu_us / 1e6, arguments.cores)
    except ValueError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 2
    server = Server(limit, arguments.cores, arguments.memory_mb)
    policy = Policy(arguments.busy, arguments.away)
    fleets = [fleet(rate, server, policy) for rate in arguments.rates]
    print(table(fleets, server, policy, balancer_seconds=arguments.balancer_us / 1e6, bytes_each=arguments.bytes))
    return 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", nargs="+", type=_above_zero, required=True, help="requests per second, at the worst time")
    carries = parser.add_mutually_exclusive_group(required=True)
    carries.add_argument("--cpu-us", type=_above_zero, help="processor time of a request in µs")
    carries.add_argument("--capacity", type=_above_zero, help="requests per second of one server")
    carries.add_argument("--report", type=Path, help="the folder that --find-capacity wrote")
    parser.add_argument("--cores", type=_whole, required=True, help="of one server, a worker on each")
    parser.add_argument("--memory-mb", type=_above_zero, default=300.0, help="of one server (300)")
    parser.add_argument("--busy", type=_share, default=0.6, help="the share of its limit that a server is planned for (0.6)")
    parser.add_argument("--away", type=_share, default=0.1, help="the share of servers that may be away, at least one (0.1)")
    parser.add_argument("--balancer-us", type=_above_zero, default=45.0, help="of a request in nginx, in µs of a core (45)")
    parser.add_argument("--bytes", type=_above_zero, default=4000.0, help="of a request and its answer (4000)")
    return parser.parse_args(words)


def _above_zero(text: str) -> float:
    return _between(text, 0, 1e12, "a number above 0, at most 1e12")


def _share(text: str) -> float:
    return _between(text, 0, 0.99, "a share above 0, at most 0.99")


def _whole(text: str) -> int:
    number = _between(text, 0, 4096, "a whole number from 1 to 4096")
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 4096, found {text!r}")
    return int(number)


def _between(text: str, above: float, most: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not above < number <= most:
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
