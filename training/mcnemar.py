"""McNemar's exact test: are two classifiers equally often right on the same samples?

Samples on which both are right, or both wrong, say nothing. Of the others, were the two equally good, each would be won by
either with probability one half; so the number won is binomial, and no approximation is needed.
"""

import math


def p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided probability of a split at least as uneven: right was only the first, or only the second."""
    if only_first < 0 or only_second < 0:
        raise ValueError(f"expected counts of 0 or more, found {only_first} and {only_second}")
    outcomes = 1 << (only_first + only_second)
    tail = sum(math.comb(only_first + only_second, wins) for wins in range(min(only_first, only_second) + 1))
    # Whole numbers until the last step: a power of two beyond the range of a float is no obstacle.
    return min(1.0, 2 * tail / outcomes)
