"""The largest arrival rate that keeps an objective: which rate to try next, and what is known after all trials.

A trial at a rate keeps the objective or misses it, and near the capacity it is chance which: a longer pause of the machine,
a burst of arrivals. So the capacity is where half of the trials would keep it, and what is known of it is a distribution:

    P(kept at r) = lapse + (1 − 2 lapse) · logistic((log capacity − log r) / width)

over a grid of capacities and widths, all equally likely before the first trial. Bracketing doubles the rate until a trial
fails (or halves it); then every trial is put where it tells most, at the middle of what is still likely (bisection, of a
probability), until the interval that holds 95 % of it is narrow enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.tensors import Array

#: A trial far from the capacity goes the other way once in fifty, because of something that has nothing to do with the rate.
_LAPSE = 0.02

#: How soft the edge may be, as a share of the rate: from sharp to a machine that cannot make up its mind.
_WIDTHS = np.geomspace(0.01, 0.25, 12)

_GRID = 600
_SURE = 0.95

#: Before so many trials it is the place of the edge that is unknown, not its softness.
_SHARP = 8

#: By how much the rate grows, or falls, until the capacity is between two trials.
GROWTH = 1.6


@dataclass(frozen=True, slots=True)
class Trial:
    """A rate, whether it kept the objective, and whether it tells anything at all of the server."""

    rate: float
    kept: bool
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a capacity: its middle, and the interval that holds 95 % of what is likely."""

    rate: float
    low: float
    high: float

    @property
    def precision(self) -> float:
        """Half of the interval as a share of the rate."""
        return (self.high - self.low) / 2 / self.rate


def bracketed(trials: Sequence[Trial]) -> bool:
    """Tell whether the capacity lies between two trials."""
    kinds = {trial.kept for trial in trials if trial.counts}
    return kinds == {True, False}


def next_rate(trials: Sequence[Trial], start: float) -> float:
    """Return the rate to try next; the first is `start`."""
    telling = [trial for trial in trials if trial.counts]
    if not telling:
        return start
    if not bracketed(telling):
        rates = [trial.rate for trial in telling]
        return max(rates) * GROWTH if telling[0].kept else min(rates) / GROWTH
    known = estimate(telling)
    # At the middle a trial tells most of where the edge is; a little to both sides, of how soft it is.
    if len(telling) < _SHARP:
        return known.rate
    aside = (known.low / known.rate, 1.0, known.high / known.rate)[len(telling) % 3]
    return known.rate * math.sqrt(aside)


def estimate(trials: Sequence[Trial]) -> Estimate:
    """Return what the trials tell together; they must be on both sides of the capacity."""
    telling = [trial for trial in trials if trial.counts]
    rates = np.log([trial.rate for trial in telling])
    grid = np.linspace(rates.min() - math.log(GROWTH), rates.max() + math.log(GROWTH), _GRID)
    likely = np.zeros((_GRID, len(_WIDTHS)))
    for trial, rate in zip(telling, rates, strict=True):
        edge = (grid[:, None] - rate) / _WIDTHS[None, :]
        kept = _LAPSE + (1 - 2 * _LAPSE) / (1 + np.exp(-np.clip(edge, -50, 50)))
        likely += np.log(kept if trial.kept else 1 - kept)
    weights = np.exp(likely - likely.max()).sum(axis=1)
    below = np.cumsum(weights) / weights.sum()
    low, middle, high = (_where(below, grid, share) for share in ((1 - _SURE) / 2, 0.5, (1 + _SURE) / 2))
    return Estimate(math.exp(middle), math.exp(low), math.exp(high))


def _where(below: Array, grid: Array, share: float) -> float:
    """Return where so large a share of a distribution lies below."""
    return float(np.interp(share, below, grid))
