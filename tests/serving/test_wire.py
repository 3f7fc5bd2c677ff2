import contextlib
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.tensors import DTYPES, Array
from serving import wire
from serving.wire import Frame, Reader, WireError

NUMERIC = sorted({dtype.str for dtype in DTYPES.values() if dtype.char != "O"})
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
TEXTS = st.one_of(st.text(), st.binary(), st.sampled_from(["\ud800", "", b"", "é" * 100]))


@st.composite
def object_arrays(draw: st.DrawFn) -> Array:
    shape = draw(SHAPES)
    array = np.empty(shape, dtype=object)
    array.ravel()[:] = draw(st.lists(TEXTS, min_size=array.size, max_size=array.size))
    return array


def arrays() -> st.SearchStrategy[Array]:
    return st.one_of(object_arrays(), st.sampled_from(NUMERIC).flatmap(lambda dtype: npst.arrays(dtype, SHAPES)))


TENSORS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), arrays(), max_size=4)


def sent(tensors: Mapping[str, Array], number: int = 7) -> bytes:
    described, buffers = wire.describe(tensors)
    return b"".join(wire.frame(3, number, described, buffers))


def same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and (found[name].tolist() == array.tolist() if array.dtype == object else found[name].tobytes() == array.tobytes())
        for name, array in expected.items()
    )


@given(TENSORS, st.integers(0, 2**64 - 1))
def test_tensors_come_back_as_they_were(tensors: dict[str, Array], number: int) -> None:
    (frame,) = Reader().take(sent(tensors, number))
    kind, told, head, data = frame
    assert (kind, told) == (3, number)
    assert same(wire.tensors_of(head, data), tensors)


@given(st.lists(TENSORS, min_size=1, max_size=4), st.data())
def test_frames_come_back_wherever_the_bytes_are_cut(all_tensors: list[dict[str, Array]], data: st.DataObject) -> None:
    stream = b"".join(sent(tensors, number) for number, tensors in enumerate(all_tensors))
    reader, frames, start = Reader(), list[Frame](), 0
    while start < len(stream):
        space = reader.space()
        size = data.draw(st.integers(1, len(stream) - start if space is None else len(space)))
        part = stream[start : start + size]
        if space is None:
            frames += reader.take(part)
        else:
            space[:size] = part
            frames += reader.filled(size)
        start += size
    assert [number for _, number, _, _ in frames] == list(range(len(all_tensors)))
    assert all(same(wire.tensors_of(head, body), all_tensors[n]) for _, n, head, body in frames)


def test_what_arrives_is_a_view_read_only_and_aligned() -> None:
    tensors = {"a": np.arange(3, dtype=np.uint8), "b": np.arange(5.0), "c": np.zeros((2, 3), np.float32)}
    stream = sent(tensors, 0) + sent(tensors, 1)
    for _, _, head, data in Reader().take(stream):
        for array in wire.tensors_of(head, data).values():
            assert not array.flags.owndata
            assert not array.flags.writeable
            assert array.ctypes.data % 16 == 0


def test_a_large_frame_is_sent_without_a_copy_and_received_into_memory_of_its_own() -> None:
    large = np.arange(100_000, dtype=np.float32)
    described, buffers = wire.describe({"x": large})
    parts = wire.frame(1, 2, described, buffers)
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), large) for part in parts)
    reader, stream = Reader(), b"".join(parts)
    assert reader.take(stream[:1000]) == []
    space = reader.space()
    assert space is not None
    space[:] = stream[1000:]
    ((_, _, head, data),) = reader.filled(len(space))
    array = wire.tensors_of(head, data)["x"]
    assert np.shares_memory(array, np.frombuffer(space, np.uint8))
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, large)


@pytest.mark.parametrize("array", [np.arange(24).reshape(4, 6).T, np.arange(24)[::2], np.arange(24).reshape(4, 6)[:, 1:3]])
def test_an_array_that_is_not_contiguous_arrives_whole(array: Array) -> None:
    ((_, _, head, data),) = Reader().take(sent({"x": array}))
    np.testing.assert_array_equal(wire.tensors_of(head, data)["x"], array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "U3"),
        np.zeros(2, np.complex64),
        np.zeros(2, np.dtype(np.float32).newbyteorder()),
        np.array([1, "a"], dtype=object),
        np.array([None], dtype=object),
    ],
)
def test_an_array_that_is_no_tensor_is_named(array: Array) -> None:
    with pytest.raises(WireError, match=r"wrong: expected .*, found"):
        wire.describe({"wrong": array})


@pytest.mark.parametrize("head", ["\ud800", 2**70, object(), {1: 2}, [np.zeros(3)]])
def test_a_head_that_is_no_json_is_refused(head: Any) -> None:
    with pytest.raises(WireError):
        wire.frame(1, 1, head)


def fed(stream: bytes) -> None:
    """Read bytes as a front end does that believes none of them."""
    reader = Reader()
    for _, _, head, data in reader.take(stream):
        wire.tensors_of(head, data)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_bytes_that_are_no_frame_end_in_one_error_or_in_waiting(stream: bytes) -> None:
    with contextlib.suppress(WireError):
        # A size that is believed is at most 64 GiB; memory for it may or may not be there, and is not touched.
        if int.from_bytes(stream[:8], "little") < 1 << 20:
            fed(stream)


@given(TENSORS, st.data())
@settings(max_examples=300)
def test_a_frame_with_other_bytes_in_it_ends_in_one_error_or_in_other_tensors(
    tensors: dict[str, Array], data: st.DataObject
) -> None:
    stream = bytearray(sent(tensors))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(20, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        fed(bytes(stream))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text("OfqX?", max_size=2)),
    lambda inner: st.lists(inner, max_size=3),
)


@given(JSON, st.binary(max_size=64))
@settings(max_examples=300)
def test_a_description_that_is_none_ends_in_one_error(described: Any, data: bytes) -> None:
    with contextlib.suppress(WireError):
        wire.tensors_of(described, memoryview(data))


@pytest.mark.parametrize(
    "shape", [[-1], [-1, -1], [3], [2**62], [2**62, 4], [1.5], ["1"], None, [[1]], [0, 2**70], [1] * 100]
)
@pytest.mark.parametrize("letter", ["f", "O", "?", "b"])
def test_a_shape_that_the_bytes_do_not_have_is_refused(letter: str, shape: Any) -> None:
    with pytest.raises(WireError):
        wire.tensors_of([["x", letter, shape]], memoryview(bytes(2)))


def test_a_size_that_nobody_sends_is_refused() -> None:
    for size in (0, 16, 33, (1 << 36) + 16, 2**64 - 16):
        with pytest.raises(WireError, match="size"):
            Reader().take(size.to_bytes(8, "little") + bytes(24))


def test_frames_cross_a_socket_in_pieces() -> None:
    tensors = {"x": np.arange(300_000, dtype=np.int64), "y": np.array(["é", b"\x00"], dtype=object)}
    ours, theirs = socket.socketpair()
    reader, frames, stream = Reader(), list[Frame](), memoryview(sent(tensors) * 2)
    with ours, theirs:
        theirs.setblocking(False)
        place = 0
        while len(frames) < 2:
            if place < len(stream):
                place += ours.send(stream[place : place + 60_000])
            with contextlib.suppress(BlockingIOError):
                space = reader.space()
                frames += reader.take(theirs.recv(50_000)) if space is None else reader.filled(theirs.recv_into(space))
    assert all(same(wire.tensors_of(head, data), tensors) for _, _, head, data in frames)
