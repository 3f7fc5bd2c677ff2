"""Edge inputs: the values of each datatype at which files and runtimes part ways, made from a real sample."""

from collections.abc import Iterator

import numpy as np

from models.tensors import Array


def edges(sample: Array) -> Iterator[tuple[str, Array]]:
    """Yield names and values, of the dtype and shape of `sample`: one real sample, without the axis of samples.

    What is drawn at random is the same each time.
    """
    if sample.size == 0:
        return
    made = _fractions(sample) if sample.dtype.kind == "f" else _whole(sample)
    for name, values in made:
        # Products of arrays without axes are scalars.
        yield name, np.asarray(values).astype(sample.dtype).reshape(sample.shape)


def _whole(sample: Array) -> Iterator[tuple[str, Array]]:
    if sample.dtype.kind == "b":
        yield "all false", np.zeros_like(sample)
        yield "all true", np.ones_like(sample)
        return
    limits = np.iinfo(sample.dtype)
    yield "zeros", np.zeros_like(sample)
    if limits.min:
        yield "smallest", np.full_like(sample, limits.min)
    yield "largest", np.full_like(sample, limits.max)


def _fractions(sample: Array) -> Iterator[tuple[str, Array]]:
    random = np.random.default_rng(0)
    limits = np.finfo(sample.dtype)
    # In turn: of few values, all might be of one sign by chance.
    signs = np.where(np.arange(sample.size) % 2, 1, -1).astype(sample.dtype).reshape(sample.shape)
    yield "zeros", np.zeros_like(sample)
    yield "±0", np.zeros_like(sample) * signs
    yield "denormals", random.uniform(0.01, 0.99, sample.shape) * limits.tiny * signs
    # Beyond any training, and not so large that a square of it overflows: the fourth root of the largest number.
    yield "large", sample * sample.dtype.type(2.0 ** (limits.maxexp // 4))
    yield "extremes", limits.max * signs
    yield "NaN", np.full_like(sample, np.nan)
    for name, value in (("one NaN", np.nan), ("one ∞", np.inf), ("one −∞", -np.inf)):
        one = sample.copy()
        one.reshape(-1)[sample.size // 2] = value
        yield name, one
