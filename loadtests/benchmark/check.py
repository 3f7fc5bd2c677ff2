"""The small form: what a request costs here, relative to what it costs in a bare function around the same session.

Both are measured in turns, and of the ratios of every round the median is taken, so that a slow machine, or a busy one, is
slow for both. recorded.json holds the ratios of the last time somebody looked; only far above those is a regression.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark import bare_asgi, sameway
from loadtests.benchmark.figures import Findings, ratio
from loadtests.benchmark.side import CannotRun
from loadtests.benchmark.turns import Plan, Turns
from loadtests.benchmark.work import BINARY, JSON, SMALL, Work

RECORDED = Path(__file__).with_name("recorded.json")

#: Above so many times the recorded ratio it is a regression. On a crowded machine five runs of FastAPI lay within 1.2 times
#: of each other. Flask, with a thread for each request, differed by 1.5 from run to run (JSON: 4.25 to 6.41), a false
#: alarm: so it is measured when asked for, and has no record until it has been measured where nothing else runs.
LEEWAY = 1.5

WORKS = tuple(Work(SMALL, 1, kind, 16) for kind in (JSON, BINARY))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a side's requests cost beside the bare function's, now and when it was recorded, if it ever was."""

    side: str
    kind: str
    found: float
    recorded: float | None

    @property
    def is_regression(self) -> bool:
        """Whether it costs so much more than was recorded."""
        return self.recorded is not None and self.found > LEEWAY * self.recorded


def plan(*, rounds: int) -> Plan:
    """Return what the small form measures."""
    return Plan(WORKS, rounds=rounds, seconds=1, idle_seconds=0.0, raw_seconds=0.0)


def measure(turns: Turns, frontends: Sequence[str]) -> None:
    """Measure front ends with one worker, and the bare function."""
    turns.measure(SMALL, [bare_asgi.side(), *(sameway.side(frontend) for frontend in frontends)])


def costs(findings: Findings, recorded: Mapping[str, Mapping[str, float]]) -> list[Cost]:
    """Return the ratios of a run beside the recorded ones."""
    bare = bare_asgi.side().name
    names = [name for name in dict.fromkeys(one.side for one in findings.rounds) if name != bare]
    found = []
    for name in names:
        for work in WORKS:
            measured = ratio(findings.rounds, work, name, bare, of=lambda one: one.cpu_us)
            if measured is not None:
                found.append(Cost(name, work.kind, measured, recorded.get(name, {}).get(work.kind)))
    return found


def read(path: Path = RECORDED) -> dict[str, dict[str, float]]:
    """Return the recorded ratios: side → how images travel → ratio; nothing where there is no file."""
    if not path.is_file():
        return {}
    try:
        ratios = json.loads(path.read_text(encoding="utf-8"))["cpu_per_request_beside_bare_uvicorn"]
        return {side: {kind: float(value) for kind, value in kinds.items()} for side, kinds in ratios.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CannotRun(f"{path.name}: expected ratios by side and kind, found {error!r}") from error


def record(found: Sequence[Cost], around: Mapping[str, object], path: Path = RECORDED) -> None:
    """Write a run's ratios, in place of those of the same sides and kinds."""
    ratios = read(path)
    for one in found:
        ratios.setdefault(one.side, {})[one.kind] = round(one.found, 2)
    machine = {
        name: around[name]
        for name in ("date", "processor", "cores", "load_average_before", "python", "onnxruntime", "uvicorn")
    }
    document = {"cpu_per_request_beside_bare_uvicorn": ratios, "measured_on": machine}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def tell(found: Sequence[Cost]) -> str:
    """Return a line for each ratio."""
    return "\n".join(map(_line, found))


def _line(one: Cost) -> str:
    beside = (
        "not recorded yet" if one.recorded is None else f"recorded {one.recorded:.2f}, limit {LEEWAY * one.recorded:.2f}"
    )
    said = f"{one.side}, {one.kind}: CPU per request {one.found:.2f} × bare uvicorn ({beside})"
    return f"{said}: REGRESSION" if one.is_regression else said
