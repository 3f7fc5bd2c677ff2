"""What this server wants to reach, as data, and whether a run shows it.

Each goal compares one configuration of ours with one opponent, or with the best of a family of them, in one kind of work.
The best opponent is the one that is best in the median; the ratio is taken within each round, and is the median of those.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.benchmark.figures import RAW_ONE, RAW_TWO, Figures, Findings, Footprint, ratio
from loadtests.benchmark.side import FRAMEWORK
from loadtests.benchmark.work import BINARY, JSON, LARGE, SMALL, Work

#: What can be compared: name → how it is read from the figures of a side in a round, and whether more of it is better.
RATE, CPU, P50 = "requests/s", "CPU per request", "p50"
FIGURES: dict[str, tuple[Callable[[Figures], float | None], bool]] = {
    RATE: (lambda one: one.requests_per_second, True),
    CPU: (lambda one: one.cpu_us, False),
    P50: (lambda one: one.p50_ms, False),
}

#: What a server uses besides: name → how it is read.
PEAK, IDLE = "peak MB", "share of a core while idle"
FOOTPRINTS: dict[str, Callable[[Footprint], float]] = {PEAK: lambda one: one.peak_mb, IDLE: lambda one: one.idle_share}

OURS, FLASK, ONE = "Sameway, FastAPI, 2 workers", "Sameway, Flask, 2 workers", "Sameway, FastAPI, 1 worker"
BY_HAND, FLASK_BY_HAND, MOSEC = "FastAPI by hand, 2 workers", "Flask by hand, gunicorn, 2 workers", "mosec"


@dataclass(frozen=True, slots=True)
class Goal:
    """`ours` ÷ `against` in some figure at some work, no less than a bound where more is better, else no more than it.

    `against` is a side or a family of sides.
    """

    work: Work
    figure: str
    bound: float
    against: str
    ours: str = OURS

    @property
    def is_least(self) -> bool:
        """Whether the bound is a least, not a most."""
        return FIGURES[self.figure][1]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a server may use at most, in itself."""

    figure: str
    bound: float
    ours: str = ONE


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was found: the opponent it was measured by, and the figure; None where it was not measured."""

    goal: Goal | Limit
    opponent: str | None
    found: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where nobody knows."""
        if self.found is None:
            return None
        if isinstance(self.goal, Goal) and self.goal.is_least:
            return self.found >= self.goal.bound
        return self.found <= self.goal.bound


def _one(kind: str, connections: int) -> Work:
    return Work(SMALL, 1, kind, connections)


_JSON_16, _JSON_64, _BINARY_16, _BINARY_64 = (_one(kind, number) for kind in (JSON, BINARY) for number in (16, 64))
_MANY_BINARY, _MANY_JSON, _LARGE = Work(SMALL, 32, BINARY, 4), Work(SMALL, 32, JSON, 4), Work(LARGE, 1, BINARY, 16)

GOALS: tuple[Goal | Limit, ...] = (
    *(Goal(work, RATE, 2.3, FRAMEWORK) for work in (_JSON_16, _JSON_64)),
    *(Goal(work, RATE, 1.8, BY_HAND) for work in (_JSON_16, _JSON_64)),
    *(Goal(work, CPU, 0.5, BY_HAND) for work in (_JSON_16, _JSON_64)),
    Goal(_BINARY_64, RATE, 1.5, BY_HAND),
    Goal(_BINARY_64, RATE, 1.2, MOSEC),
    Goal(_BINARY_16, RATE, 2.5, MOSEC),
    Goal(_BINARY_16, RATE, 1.5, BY_HAND),
    Goal(_one(BINARY, 1), P50, 1.0, BY_HAND),
    Goal(_one(BINARY, 1), P50, 0.5, FRAMEWORK),
    # Nothing can be faster than sessions without a server; the goal is to be close.
    Goal(_MANY_BINARY, RATE, 0.9, RAW_TWO),
    Goal(_MANY_BINARY, RATE, 1.0, BY_HAND),
    Goal(_MANY_JSON, RATE, 1.5, BY_HAND),
    Goal(_LARGE, RATE, 0.97, RAW_TWO),
    Goal(_LARGE, RATE, 0.97, RAW_ONE, ONE),
    *(Goal(work, CPU, 0.5, FLASK_BY_HAND, FLASK) for work in (_JSON_16, _JSON_64)),
    *(Goal(work, CPU, 0.75, FLASK_BY_HAND, FLASK) for work in (_BINARY_16, _BINARY_64)),
    *(Goal(work, RATE, 1.8, FLASK_BY_HAND, FLASK) for work in (_JSON_16, _JSON_64)),
    *(Goal(work, RATE, 1.2, FLASK_BY_HAND, FLASK) for work in (_BINARY_16, _BINARY_64)),
    Limit(PEAK, 140),
    Limit(IDLE, 0.005),
)


def judge(goal: Goal | Limit, findings: Findings) -> Verdict:
    """Return what a run shows of a goal."""
    if isinstance(goal, Limit):
        read = FOOTPRINTS[goal.figure]
        held = [read(one) for one in findings.footprints if (one.side, one.model) == (goal.ours, SMALL)]
        return Verdict(goal, None, held[0] if held else None)
    figure, more = FIGURES[goal.figure]
    opponent = _best(findings.rounds, goal, figure, more=more)
    if opponent is None:
        return Verdict(goal, None, None)
    return Verdict(goal, opponent, ratio(findings.rounds, goal.work, goal.ours, opponent, of=figure))


def _best(found: Sequence[Figures], goal: Goal, figure: Callable[[Figures], float | None], *, more: bool) -> str | None:
    """Return the opponent that is best at the goal's work, None where none was measured."""
    values: dict[str, list[float]] = {}
    for one in found:
        value = figure(one)
        if one.work == goal.work and goal.against in (one.side, one.family) and value is not None:
            values.setdefault(one.side, []).append(value)
    best = max if more else min
    return best(values, key=lambda side: median(values[side])) if values else None
