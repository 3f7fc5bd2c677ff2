"""A tensor's bytes lie anywhere in a body; what is made of them is aligned, and a view where it can be."""

import numpy as np
import pytest

from models.tensors import DTYPES
from serving.protocols import v2_binary

#: Below and above the size up to which a copy keeps the GIL.
COUNTS = (1, 784, 100_000)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT64", "UINT8", "BF16"])
@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("count", COUNTS)
def test_wherever_it_begins_the_array_is_aligned_and_the_same(datatype: str, offset: int, count: int) -> None:
    dtype = DTYPES[datatype]
    data = np.random.default_rng(0).integers(0, 256, count * dtype.itemsize, np.uint8).tobytes()
    body = memoryview(bytes(offset) + data)
    found = v2_binary.read(body[offset:], "x", datatype, (1, count))
    assert (found.dtype, found.shape) == (dtype, (1, count))
    assert found.flags.aligned
    assert found.tobytes() == data


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_aligned_already_is_not_copied(count: int) -> None:
    memory = np.zeros(count, np.float64)
    found = v2_binary.read(memory.data.cast("B"), "x", "FP64", (count,))
    assert np.shares_memory(found, memory)
