"""The bootstrap: how far a score would move if the samples were drawn again.

Samples are drawn from the samples themselves, with replacement, as many as there are; the 2.5 % and 97.5 % quantiles of what
the statistic then gives are its 95 % interval (the percentile interval of Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Two models on the same samples are compared by a statistic of both: every draw is then the same
for either, and what is easy or hard in it cancels (the paired bootstrap).
"""

from collections.abc import Callable

import numpy as np

from models.tensors import Array

#: Draws. The ends of the interval then vary by about a fortieth of its width from seed to seed.
RESAMPLES = 2_000


def interval(
    statistic: Callable[[Array], float],
    samples: int,
    *,
    strata: Array | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of `statistic`, which gets INT64 indices of samples, `samples` of them, some repeated.

    `strata` [samples] are groups whose sizes stay as they are in every draw, as that of familiar and foreign samples.
    """
    if samples < 1:
        raise ValueError(f"samples: expected 1 or more, found {samples}")
    choices = np.random.default_rng(seed)
    groups = [np.arange(samples)] if strata is None else [np.flatnonzero(strata == group) for group in np.unique(strata)]
    found = np.empty(resamples)
    for draw in range(resamples):
        indices = [group[choices.integers(0, group.size, group.size)] for group in groups]
        found[draw] = statistic(np.concatenate(indices))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
