"""Outputs that chance decides: judged by what chance does not change, which is shape, datatype and finiteness.

Export marks an output as random where the eager model itself gives two answers to one input. Parity, the replay of a golden
sample and `sameway verify` then judge it with this file, and by nothing else.
"""

import numpy as np

from models.tensors import Array


def unlike(found: Array, example: Array) -> str | None:
    """Return how a random answer differs from another to the same input, in a few words; None where only in its values.

    Finiteness means: no NaN, no infinity and no minus infinity, unless the example has some of that very kind.
    """
    if found.dtype != example.dtype:
        return f"expected {example.dtype}, found {found.dtype}"
    if found.shape != example.shape:
        return f"expected shape {list(example.shape)}, found {list(found.shape)}"
    if found.dtype.kind != "f":
        return None
    for name, kind in (("NaN", np.isnan), ("infinite", np.isposinf), ("minus infinity", np.isneginf)):
        count = np.count_nonzero(kind(found))
        if count and not kind(example).any():
            return f"expected finite numbers, found {count:,} of {found.size:,} that are {name}"
    return None
