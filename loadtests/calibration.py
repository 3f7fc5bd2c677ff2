"""How fast this machine is just now: a fixed piece of work, timed. Machines drift by more than servers differ.

The work is the interpreter's own, a few milliseconds at a time, so that what it takes says how much of a core whoever asks
gets: less when neighbours compute, or the hypervisor gives its time to somebody else.
"""

import time
from dataclasses import dataclass

#: About 4 ms on a core of 2024; long against the clock, short against a scheduler's turn.
_TURNS = 100_000
_PIECES = 15


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds that one piece took: in the middle, at best, and at worst."""

    at: float
    milliseconds: float
    best: float
    worst: float

    def to_json(self) -> dict[str, float]:
        """Return it as JSON."""
        return {
            "at": round(self.at, 3),
            "milliseconds": round(self.milliseconds, 3),
            "best": round(self.best, 3),
            "worst": round(self.worst, 3),
        }


def calibrate(pieces: int = _PIECES) -> Speed:
    """Time the work now; takes some 60 ms of one core."""
    taken = sorted(_piece() for _ in range(pieces))
    return Speed(time.time(), taken[len(taken) // 2] * 1000, taken[0] * 1000, taken[-1] * 1000)


def drift(speeds: list[float]) -> float:
    """Return how much slower the slowest of several calibrations was than the fastest, as a share; 0 of less than two."""
    return max(speeds) / min(speeds) - 1 if len(speeds) > 1 else 0.0


def _piece() -> float:
    started, number = time.perf_counter(), 1
    for _ in range(_TURNS):
        number = (number * 1103515245 + 12345) & 0x7FFFFFFF
    return time.perf_counter() - started
