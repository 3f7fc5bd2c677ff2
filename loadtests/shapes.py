"""The load over time: a level (users, or arrivals per second) that stays, steps, climbs or leaps, and the arrivals it means.

A profile is a list of corners with straight lines between them. From it come the number of users at a moment, and for an
open load the moments of all arrivals: at equal distances, or as strangers come (a Poisson process).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.tensors import Array

SHAPES = ("steady", "steps", "ramp", "spike", "soak")

#: How many arrivals are made at once: enough for numpy to be quick, few enough to begin at once.
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Corner:
    """At so many seconds the level is this; two corners at one moment are a leap."""

    seconds: float
    level: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The level over time, and how much of the beginning is warm-up, which no figure counts."""

    corners: tuple[Corner, ...]
    warm_up: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it lasts, warm-up included."""
        return self.corners[-1].seconds

    @property
    def highest(self) -> float:
        """The highest level."""
        return max(corner.level for corner in self.corners)

    @property
    def changing(self) -> bool:
        """Whether the level is not always the same."""
        return len({corner.level for corner in self.corners}) > 1

    def level(self, seconds: float) -> float:
        """Return the level at a moment; after a leap where one is. 0 outside."""
        if not 0 <= seconds < self.seconds:
            return 0.0
        for start, end in itertools.pairwise(self.corners):
            if start.seconds <= seconds < end.seconds:
                share = (seconds - start.seconds) / (end.seconds - start.seconds)
                return start.level + share * (end.level - start.level)
        return 0.0

    def arrivals(
        self, *, share: float = 1.0, poisson: bool = True, seed: int | tuple[int, ...] = 0, phase: float = 0.5
    ) -> Iterator[float]:
        """Yield the moments of arrivals, of which the profile's levels are the rate per second, times `share`.

        The n-th arrival is when the area below the rate reaches a sum of n gaps: each 1 for equal distances, or random with
        mean 1. `phase` is where the first of equal ones falls in its gap, so that several generators interleave.
        """
        times = np.array([corner.seconds for corner in self.corners])
        rates = np.array([corner.level for corner in self.corners]) * share
        areas = np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
        random = np.random.default_rng(seed)
        reached = 0.0 if poisson else phase - 1.0
        while True:
            gaps = random.exponential(1.0, _CHUNK) if poisson else np.ones(_CHUNK)
            wanted = reached + np.cumsum(gaps)
            reached = float(wanted[-1])
            inside = wanted[wanted < areas[-1]]
            yield from _when(inside, times, rates, areas).tolist()
            if len(inside) < _CHUNK:
                return

    def to_json(self) -> dict[str, object]:
        """Return the profile as JSON."""
        return {"corners": [[corner.seconds, corner.level] for corner in self.corners], "warm_up": self.warm_up}

    @classmethod
    def from_json(cls, found: dict[str, object]) -> "Profile":
        """Read what `to_json` wrote."""
        corners: list[list[float]] = found["corners"]  # type: ignore[assignment] # our own
        return cls(tuple(Corner(*corner) for corner in corners), float(str(found["warm_up"])))


def _when(wanted: Array, times: Array, rates: Array, areas: Array) -> Array:
    """Return when the area below the rate reaches each wanted value; within a segment the area is quadratic in time."""
    place = np.clip(np.searchsorted(areas, wanted, side="right") - 1, 0, len(times) - 2)
    start, length = rates[place], times[place + 1] - times[place]
    slope = np.divide(rates[place + 1] - start, length, out=np.zeros_like(start), where=length > 0)
    rest = wanted - areas[place]
    # rest = start·t + slope·t²/2, in the form that does not divide by a slope of 0.
    below = start + np.sqrt(np.maximum(start**2 + 2 * slope * rest, 0.0))
    return np.asarray(times[place] + np.divide(2 * rest, below, out=np.zeros_like(rest), where=below > 0))


def make(shape: str, level: float, seconds: float, *, warm_up: float = 0.0, factor: float = 10.0, steps: int = 5) -> Profile:
    """Return a profile of one of SHAPES around a level.

    steady, soak   the level all the time (a soak is a long one)
    steps          from level/steps up to the level, all equally long
    ramp           from nothing to the level
    spike          the level, for a fifth of the time `factor` times as much, and the level again
    """
    if shape in ("steady", "soak"):
        corners = [(0.0, level), (seconds, level)]
    elif shape == "ramp":
        corners = [(0.0, 0.0), (seconds, level)]
    elif shape == "steps":
        heights = [level * (number + 1) / steps for number in range(steps)]
        corners = [(at * seconds / steps, height) for number, height in enumerate(heights) for at in (number, number + 1)]
    elif shape == "spike":
        high = level * factor
        corners = [(0.0, level), (0.4, level), (0.4, high), (0.6, high), (0.6, level), (1.0, level)]
        corners = [(share * seconds, height) for share, height in corners]
    else:
        raise ValueError(f"shape: expected one of {', '.join(SHAPES)}, found {shape!r}")
    first = corners[0][1] or level / 10
    before = [(0.0, first), (warm_up, first)] if warm_up else []
    return Profile(
        tuple(Corner(*corner) for corner in (*before, *((at + warm_up, height) for at, height in corners))), warm_up
    )
