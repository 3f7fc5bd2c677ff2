"""How far answers are from their reference, in the units people think in: shares, units in the last place, angles.

None of these decides; a tolerance, per element and absolute, does. They tell a reader what kind of a difference it was.
"""

import numpy as np

from models.tensors import Array


def largest_share(apart: Array, values: Array) -> float:
    """Return the largest difference as a share of its reference, over elements that are neither 0 nor infinite nor NaN.

    `apart` are absolute differences, [runs, *values.shape].
    """
    magnitudes = np.abs(values.astype(np.float64))
    counts = np.isfinite(magnitudes) & (magnitudes > 0)
    return float(np.max(apart[:, counts] / magnitudes[counts], initial=0.0))


def largest_ulp(apart: Array, values: Array) -> float:
    """Return the largest difference in units in the last place of its reference, over the same elements.

    The unit is the distance from the reference's magnitude to the next smaller number of its datatype, as the unit in the
    last place of Goldberg, "What Every Computer Scientist Should Know About Floating-Point Arithmetic" (1991).
    """
    magnitudes = np.abs(values)
    counts = np.isfinite(magnitudes) & (magnitudes > 0)
    # Towards 0, as above the largest number there is only infinity.
    units = magnitudes[counts] - np.nextafter(magnitudes[counts], np.zeros((), values.dtype))
    return float(np.max(apart[:, counts] / units.astype(np.float64), initial=0.0))


def smallest_cosine(found: Array, values: Array) -> float:
    """Return the smallest cosine between a sample's answer and its reference, 1 where all point the same way.

    `found` is [runs, samples, …], `values` [samples, …]; each sample is flattened to one vector. Two zero vectors have the
    cosine 1, one and another 0. Samples whose reference holds NaN or infinity are left out; an answer that does has 0.
    """
    runs, samples = found.shape[:2]
    expected = values.astype(np.float64).reshape(samples, -1)
    sound = np.isfinite(expected).all(axis=1)
    given = found.astype(np.float64).reshape(runs, samples, -1)[:, sound]
    finite = np.asarray(np.isfinite(given).all(axis=2))
    one, other = _unit(np.where(finite[..., np.newaxis], given, 0.0)), _unit(expected[sound])
    cosines = np.einsum("rsv,sv->rs", one, other)
    cosines[finite & ~one.any(axis=2) & ~other.any(axis=1)] = 1.0
    return float(np.clip(np.min(cosines, initial=1.0), -1.0, 1.0))


def _unit(vectors: Array) -> Array:
    """Return the vectors at length 1; zero vectors as they are."""
    # Divided by the largest element first, as squares of large numbers overflow and those of small ones vanish.
    largest = np.max(np.abs(vectors), axis=-1, keepdims=True, initial=0.0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    length = np.linalg.norm(scaled, axis=-1, keepdims=True)
    unit: Array = np.divide(scaled, length, out=scaled, where=length > 0)
    return unit
