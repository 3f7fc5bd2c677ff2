"""Tolerances: what an artifact may differ by, derived from what the eager model differs from itself.

A constant would be too strict for one network and blind for the next. The noise floor is measured instead, per element:
float32 against float64, a row alone against the same row in a batch, and no less than 4 units in the last place. Elements
of like magnitude share a floor, and about ten times it is allowed. One floor for a whole output would be that of its largest
elements: after a softmax, where most are a millionth of the largest, a fault could hide in all of those.
"""

from typing import Any

import numpy as np

from models.tensors import Array

#: How many times the noise floor is allowed. Runtimes sum in another order, fold batch normalisation and approximate exp
#: by other polynomials; over 13 modules an honest artifact was at most 2.7 floors away, one weight changed by 1 % moved
#: an output by 27 and more.
ALLOWED_FLOORS = 10.0

#: Units in the last place that are below any measuring: eager and artifact may round a last addition differently.
LEAST_ULP = 4.0

#: Elements that share one floor. The largest of 128 errors varies by a factor of about 2 between two draws; of a handful
#: it would vary by more than ALLOWED_FLOORS has room for.
BAND = 128

#: A floor above this share of an output's scale allows so much that passing would prove nothing.
ILL_CONDITIONED = 1e-3


def difference(one: Array, other: Array) -> Array:
    """Return the absolute difference per element in float64; 0 where both are NaN or the same infinity, inf where one is."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.asarray(np.abs(first - second))  # of arrays without axes it is a scalar
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    apart[same] = 0.0
    apart[~same & np.isnan(apart)] = np.inf
    return apart


def scale(values: Array) -> float:
    """Return the largest finite magnitude of an output, 0 for one without any."""
    return float(np.max(_magnitude(values), initial=0.0))


def allowed(values: Array, floors: Array) -> Array:
    """Return what each element of an artifact's output may differ by.

    Small elements are allowed LEAST_ULP of the largest, once and not tenfold: runtimes approximate a sigmoid to within 2 of
    those over its whole range, however exactly the eager model computes its small values. Not so a softmax, which divides
    by its own sum and is exact relative to each element (ONNX Runtime: 2e-6) in every runtime.
    """
    tenfold: Array = ALLOWED_FLOORS * floors
    return tenfold if _is_distribution(values) else np.maximum(tenfold, least(values))


def stated(values: Array, *, atol: float, rtol: float) -> Array:
    """Return what each element may differ by where that was stated: atol + rtol × |expected|, as numpy's allclose."""
    return atol + rtol * _magnitude(values)


def least(values: Array) -> float:
    """Return what is below any measuring, for an output as a whole: rounding at its scale, 0 for integers."""
    return float(_rounding(np.array(scale(values)), values.dtype)) if np.issubdtype(values.dtype, np.floating) else 0.0


def floors(values: Array, noise: Array) -> Array:
    """Return the noise floor of every element: the largest noise among those of like or smaller magnitude.

    `values` are what the eager model answers in float32 (or whatever float type the output has), `noise` what it was seen
    to differ from itself, of the same shape. Zeros count with the smallest other magnitudes: a ReLU's exact 0 has no noise
    of its own, but the runtime that computed 1e-9 there is not wrong.
    """
    if values.size == 0:
        return noise
    magnitudes = _magnitude(values).ravel()
    order = np.argsort(magnitudes, kind="stable")
    ascending = magnitudes[order]
    zeros = int(np.searchsorted(ascending, 0.0, side="right"))
    bands = max(1, (ascending.size - zeros) // BAND)
    starts = zeros + BAND * np.arange(bands)
    starts[0] = 0
    largest = ascending[np.append(starts[1:], ascending.size) - 1]
    measured = np.maximum.reduceat(noise.ravel()[order], starts)
    per_band = np.maximum.accumulate(np.maximum(measured, _rounding(largest, values.dtype)))
    result = np.empty(ascending.size)
    result[order] = np.repeat(per_band, np.diff(np.append(starts, ascending.size)))
    return result.reshape(values.shape)


def _is_distribution(values: Array) -> bool:
    """Tell whether an output holds probabilities of alternatives, on its second axis or its last: they add up to 1."""
    if values.ndim < 2 or not np.all(values >= 0):
        return False
    # 1e-3 is far above the rounding of any float type, and no other output comes that close to 1 in every row.
    return any(np.allclose(values.sum(axis=axis, dtype=np.float64), 1, rtol=0, atol=1e-3) for axis in (1, -1))


def _rounding(magnitudes: Array, dtype: np.dtype[Any]) -> Array:  # Any: of whatever float type the output is
    """Return LEAST_ULP at each magnitude, plus the smallest normal number: some runtimes flush what is smaller to 0."""
    # The largest number has no next one; half of it has, at half the distance.
    bounded = np.minimum(magnitudes.astype(dtype), np.finfo(dtype).max / 2)
    result: Array = LEAST_ULP * np.spacing(bounded).astype(np.float64) + np.finfo(dtype).tiny
    return result


def _magnitude(values: Array) -> Array:
    magnitudes = np.abs(values.astype(np.float64))
    return np.where(np.isfinite(magnitudes), magnitudes, 0.0)
