"""The tracer: a model whose every answer names the row it was computed from.

Its rows name themselves (request, row, a hash of both), and it only turns them: y = A x + b, A orthogonal. So each number
of an answer depends on all eight that were sent, and whoever holds an answer can turn it back and read whose it is.
Nothing here knows a server: this is the oracle, in numpy, that answers are held against.
"""

import hashlib
import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MODEL, INPUT, OUTPUT = "tracer", "x", "y"
LANES = 8

#: Answers may differ from the oracle by this: every lane is of the size of 1, where float32 keeps seven digits.
TOLERANCE = 1e-5

#: The lanes hold r / 2¹⁸ and k / 2⁶. Divided by powers of two they are still exact in float32, and as small as the others,
#: so that one absolute tolerance suits every lane.
_REQUESTS, _ROWS = 2.0**18, 2.0**6
#: Beyond it the first lane would be so large that float32 rounds more than TOLERANCE off an answer.
MAX_REQUESTS = 2**22

#: 16 bits of the hash in each of six lanes, as sixteenth bits between -1 and 1: short in JSON, and exact everywhere.
_HASH = struct.Struct("<6h")
_HASH_SCALE = 2.0**-15

Floats = npt.NDArray[np.float32]


class Name(NamedTuple):
    """Whose row it is: the request's number, and which of its rows."""

    request: int
    row: int


def lanes(seed: int, request: int, row: int) -> tuple[float, ...]:
    """Return the input f(seed, r, k): the eight lanes of one row, each exact in float32."""
    digest = hashlib.sha256(b"%d/%d/%d" % (seed, request, row)).digest()
    return (request / _REQUESTS, row / _ROWS, *(part * _HASH_SCALE for part in _HASH.unpack_from(digest)))


@lru_cache(maxsize=8)
def weights(version: int) -> tuple[Floats, Floats]:
    """Return A and b of a version; each version turns its inputs in another way."""
    random = np.random.default_rng(version)
    orthogonal, _ = np.linalg.qr(random.normal(size=(LANES, LANES)))
    return orthogonal.astype(np.float32), random.uniform(-1, 1, LANES).astype(np.float32)


def oracle(inputs: npt.ArrayLike, version: int) -> npt.NDArray[np.float64]:
    """Return the right answers to rows of inputs, computed with more digits than any server has."""
    turn, shift = weights(version)
    return np.asarray(inputs, np.float64) @ turn.T.astype(np.float64) + shift


def name_of(answer: npt.ArrayLike, version: int, seed: int) -> Name | None:
    """Return whose answer this is, None if it is nobody's: the row that it names would have been answered otherwise."""
    found = np.asarray(answer, np.float64)
    turn, shift = weights(version)
    # The inverse of an orthogonal A is its transpose.
    inputs = (found - shift) @ turn
    if not np.isfinite(inputs).all():
        return None
    near, row = round(inputs[0] * _REQUESTS), round(inputs[1] * _ROWS)
    # float32 may have rounded the first lane by a step or two; the hash tells which of them it was.
    names = [Name(near + step, row) for step in range(-3, 4) if near + step >= 0 <= row]
    if not names:
        return None
    right = oracle([lanes(seed, *name) for name in names], version)
    difference = np.abs(right - found).max(axis=1)
    closest = int(difference.argmin())
    return names[closest] if difference[closest] <= TOLERANCE else None
