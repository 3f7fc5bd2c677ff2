"""Inputs for a model of which no real ones are known: random, and the same at every load.

They warm a session up, show whether rows of a batch are independent, and are the golden inputs of an imported model.
"""

from collections.abc import Iterator

import numpy as np

from models.tensors import Array, Signature, TensorSpec

#: Lengths for free axes: 8 suits most; 5 is odd; an image that is halved again and again needs 64; some take only 1.
_LENGTHS = (8, 5, 64, 1)

#: A row with more values than this (an image of 1024 × 1024 has three times as many) is not made up from a long length.
_ROW_VALUES = 1 << 20

#: Whole numbers below this: they are often places in a table, and a table has at least a few.
_WHOLE = 4


def lengths(signature: Signature) -> Iterator[int]:
    """Yield lengths to try for the free axes of a row; one where none is free."""
    free = [spec.shape.count(None) for spec in signature.inputs]
    if not any(free):
        yield 1
        return
    for length in _LENGTHS:
        if sum(length**count for count in free) <= _ROW_VALUES:
            yield length


def inputs(signature: Signature, *, rows: int, length: int, seed: int = 0) -> dict[str, Array]:
    """Return inputs of so many rows whose free axes have that length; the first rows do not depend on how many follow."""
    made = {}
    for spec in signature.inputs:
        shape = tuple(length if axis is None else axis for axis in spec.shape)
        if not signature.batched:
            made[spec.name] = _values(spec, shape, np.random.default_rng((seed, 0)))
            continue
        made[spec.name] = np.stack([_values(spec, shape, np.random.default_rng((seed, row))) for row in range(rows)])
    return made


def _values(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Return random values. Those with a fraction have a scale of their own, from a hundredth to a hundred."""
    kind = spec.dtype.kind
    if spec.datatype == "BF16":
        return bfloat16(_normal(shape, generator))
    if kind == "f":
        return _normal(shape, generator).astype(spec.dtype)
    whole = generator.integers(0, _WHOLE, shape)
    if kind == "b":
        return np.asarray(whole % 2 == 1)
    if kind == "O":
        # Digits, which are texts and, for a model that reads numbers from texts, numbers too.
        texts = np.empty(shape, dtype=object)
        texts[...] = np.array([str(number) for number in whole.ravel()], dtype=object).reshape(shape)
        return texts
    return np.asarray(whole.astype(spec.dtype))


def bfloat16(values: Array) -> Array:
    """Return numbers as BF16 is carried: the upper 16 bits of their FP32."""
    wide = np.asarray(values, np.float32, order="C")
    return np.asarray((wide.view(np.uint32) >> 16).astype(np.uint16))


def _normal(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    return np.asarray(generator.standard_normal(shape) * 10.0 ** generator.uniform(-2, 2), np.float32)
