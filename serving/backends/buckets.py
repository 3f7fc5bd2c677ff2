"""Batch buckets: the few batch sizes for which a GPU has a recorded execution, and which of them a batch takes.

A CUDA graph is recorded for one shape. So a batch is padded to the next bucket, with rows of zeros that are cut off again:
never with another client's rows. Pure functions.
"""

from bisect import bisect_left
from collections.abc import Sequence

from models.tensors import Signature


def buckets_of(signature: Signature, stated: Sequence[int] | None) -> tuple[int, ...]:
    """Return the buckets of a signature, ascending, the largest batch the last; none where shapes are not known before.

    By default they double, so that padding at worst doubles a batch. Where there is no batch axis the one bucket is 1, the
    request. `stated` replaces the doubling; what is larger than the largest batch is left out, and none stays none.
    """
    free = any(length is None for spec in signature.inputs for length in spec.shape)
    if free or (stated is not None and not stated):
        return ()
    most = max(1, signature.max_batch_size)
    sizes = doubling(most) if stated is None else stated
    return (*sorted({rows for rows in sizes if rows < most}), most)


def doubling(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … up to the largest batch, and that itself."""
    return (*(2**power for power in range((most - 1).bit_length())), most)


def bucket_for(rows: int, buckets: Sequence[int]) -> int | None:
    """Return the smallest bucket that holds so many rows, None where none does; `buckets` are ascending."""
    place = bisect_left(buckets, rows)
    return buckets[place] if place < len(buckets) else None
