"""What the rounds have found, as medians and as ratios to the bare handler: a table to read, JSON to keep.

A machine's speed drifts from minute to minute, so a ratio is taken within each round, and of those the median.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Figures:
    """One side in one round: what it carried, and what of the processor a request has cost its whole process tree."""

    side: str
    kind: str
    connections: int
    round: int
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Row:
    """A side in medians over the rounds, and beside the side that is the measure."""

    side: str
    kind: str
    connections: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    throughput_ratio: float
    cpu_ratio: float


def summarize(found: Sequence[Figures], measure: str) -> list[Row]:
    """Return the medians, in the order in which sides, kinds and connections were first met."""
    rounds = {(one.kind, one.connections, one.round): one for one in found if one.side == measure}
    rows = []
    for kind, connections, side in dict.fromkeys((one.kind, one.connections, one.side) for one in found):
        own = [one for one in found if (one.kind, one.connections, one.side) == (kind, connections, side)]
        beside = [rounds[kind, connections, one.round] for one in own]
        pairs = list(zip(own, beside, strict=True))
        rows.append(
            Row(
                side,
                kind,
                connections,
                requests_per_second=median(one.requests_per_second for one in own),
                p50_ms=median(one.p50_ms for one in own),
                p99_ms=median(one.p99_ms for one in own),
                cpu_us=median(one.cpu_us for one in own),
                throughput_ratio=median(one.requests_per_second / other.requests_per_second for one, other in pairs),
                cpu_ratio=median(one.cpu_us / other.cpu_us for one, other in pairs),
            )
        )
    return rows


def table(rows: Sequence[Row], measure: str) -> str:
    """Return the rows as a table in Markdown, which is easy to read as it is."""
    head = ["one image as", "connections", "server", "requests/s", "p50 ms", "p99 ms", "CPU µs/request"]
    head += [f"requests/s ÷ {measure}", f"CPU ÷ {measure}"]
    lines = [head, ["-", "-:", "-", *["-:"] * 6]]
    for row in rows:
        figures = [f"{row.requests_per_second:,.0f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.cpu_us:.0f}"]
        ratios = [f"{row.throughput_ratio:.2f}", f"{row.cpu_ratio:.2f}"]
        lines.append([row.kind, str(row.connections), row.side, *figures, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def environment(wrk: str) -> dict[str, object]:
    """Return what figures depend on besides the servers: the machine and the versions of what runs on it."""
    packages = ("fastapi", "flask", "numpy", "onnxruntime", "orjson", "starlette", "uvicorn", "uvloop", "httptools")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "wrk": wrk,
        **{name: version(name) for name in packages},
    }


def as_json(found: Sequence[Figures], rows: Sequence[Row], around: dict[str, object]) -> dict[str, object]:
    """Return everything: the environment, the medians, and each round for whoever would rather have other statistics."""
    return {"environment": around, "medians": [asdict(row) for row in rows], "rounds": [asdict(one) for one in found]}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
