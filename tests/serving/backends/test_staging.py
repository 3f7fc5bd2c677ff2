import numpy as np
import pytest
import torch

from models.tensors import DTYPES
from serving.backends.staging import TORCH_DTYPES, Buffer, Ring, lies_in, to_numpy
from tests.serving.backends.lazy_device import memory


def test_every_datatype_of_numbers_has_one_of_torch_s_which_numpy_carries_as_the_protocol_says() -> None:
    assert TORCH_DTYPES.keys() == DTYPES.keys() - {"BYTES"}
    for name, dtype in TORCH_DTYPES.items():
        assert to_numpy(torch.zeros(2, dtype=dtype)).dtype == DTYPES[name]


def test_memory_is_used_again_until_more_is_needed() -> None:
    sizes = []

    def new(size: int) -> torch.Tensor:
        sizes.append(size)
        return memory(size)

    buffer = Buffer(new)
    first = buffer.tensor((2, 5), torch.float32)
    assert (tuple(first.shape), first.dtype) == ((2, 5), torch.float32)
    assert buffer.tensor((16,), torch.float32).data_ptr() == first.data_ptr()
    assert buffer.tensor((), torch.int64).shape == ()
    assert buffer.tensor((0, 3), torch.int64).shape == (0, 3)
    first.fill_(7)
    larger = buffer.tensor((17,), torch.float32)
    assert larger.data_ptr() != first.data_ptr()
    assert (first == 7).all(), "whoever still holds the smaller one keeps it"
    assert sizes == [64, 128]


def test_slots_come_in_turn_and_no_more_than_there_are() -> None:
    ring = Ring(["a", "b"])
    assert [ring.next(), ring.next()] == ["a", "a"]
    ring.begin()
    assert ring.next() == "b"
    ring.begin()
    assert ring.under_way == 2
    with pytest.raises(RuntimeError, match="expected at most 2 batches under way"):
        ring.next()
    assert ring.oldest() == "a"
    ring.end()
    assert (ring.next(), ring.oldest()) == ("a", "b")
    ring.end()
    with pytest.raises(RuntimeError, match="found none begun"):
        ring.oldest()


def test_an_array_lies_in_a_tensor_only_as_a_whole_and_in_its_order() -> None:
    tensor = torch.zeros(4, 4)
    array = to_numpy(tensor)
    assert lies_in(array, tensor)
    assert not lies_in(array[:2], tensor)
    assert not lies_in(array.T, tensor)
    assert not lies_in(array.copy(), tensor)
    assert not lies_in(np.zeros((4, 4), np.float32), tensor)
