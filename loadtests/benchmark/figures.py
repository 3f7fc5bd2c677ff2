"""What was measured, in the terms in which it is kept: one side in one round, its medians, what a server uses besides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtests.benchmark.raw import Raw
from loadtests.benchmark.side import Absent
from loadtests.benchmark.work import Work

#: The sides that are no servers: so many processes with the session and nothing else, at their best batch.
RAW_FAMILY = "raw session"
RAW_ONE, RAW_TWO = "raw session, 1 process", "raw session, 2 processes"


@dataclass(frozen=True, slots=True)
class Figures:
    """One side in one round: what it carried, and what of the processor a request has cost its whole process tree."""

    side: str
    family: str
    work: Work
    round: int
    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us: float

    @property
    def rows_per_second(self) -> float:
        """How many images it answered."""
        return self.requests_per_second * self.work.rows


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a server holds and uses besides: its peak of memory over all its work with a model, its share of a core idle."""

    side: str
    family: str
    model: str
    peak_mb: float
    idle_share: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a run has found."""

    environment: Mapping[str, object]
    rounds: tuple[Figures, ...]
    footprints: tuple[Footprint, ...]
    raw: tuple[Raw, ...]
    absent: tuple[Absent, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> "Findings":  # Any: as json reads it
        """Return it again."""
        return cls(
            document["environment"],
            tuple(Figures(**{**one, "work": Work(**one["work"])}) for one in document["rounds"]),
            tuple(Footprint(**one) for one in document["footprints"]),
            tuple(Raw(**one) for one in document["raw"]),
            tuple(Absent(**one) for one in document["absent"]),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A side in medians over the rounds, and beside the side that is the measure, where both have done the work."""

    side: str
    family: str
    work: Work
    requests_per_second: float
    rows_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us: float
    throughput_ratio: float | None
    cpu_ratio: float | None


def summarize(found: Sequence[Figures], measure: str) -> list[Row]:
    """Return the medians, in the order in which work and sides were first met.

    A machine's speed drifts from minute to minute, so a ratio is taken within each round, and of those the median.
    """
    rows = []
    for work, side in dict.fromkeys((one.work, one.side) for one in found):
        own = [one for one in found if (one.work, one.side) == (work, side)]
        p50, p99 = ([value for one in own if (value := getattr(one, name)) is not None] for name in ("p50_ms", "p99_ms"))
        rows.append(
            Row(
                side,
                own[0].family,
                work,
                requests_per_second=median(one.requests_per_second for one in own),
                rows_per_second=median(one.rows_per_second for one in own),
                p50_ms=median(p50) if p50 else None,
                p99_ms=median(p99) if p99 else None,
                cpu_us=median(one.cpu_us for one in own),
                throughput_ratio=ratio(found, work, side, measure, of=lambda one: one.requests_per_second),
                cpu_ratio=ratio(found, work, side, measure, of=lambda one: one.cpu_us),
            )
        )
    return rows


def ratio(
    found: Sequence[Figures], work: Work, ours: str, theirs: str, *, of: Callable[[Figures], float | None]
) -> float | None:
    """Return the median, over the rounds that both have, of one side's figure ÷ the other's; None where there is none."""
    own, other = (
        {one.round: value for one in found if one.work == work and one.side == side and (value := of(one))}
        for side in (ours, theirs)
    )
    pairs = [own[number] / other[number] for number in own if number in other]
    return median(pairs) if pairs else None
