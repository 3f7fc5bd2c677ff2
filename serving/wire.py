"""Tensors ⇄ bytes between two processes of one server: frames of a small head and raw buffers, views on the way in.

    frame    size u64 · number u64 · size of the head u32 · kind u8 · 11 bytes of nothing · head · tensors
    head     JSON, small: what the kind means is its sender's and its receiver's business; tensors are described in it
    tensor   the array's own bytes in C order; BYTES are the length of each element, then all elements

Each part begins at a multiple of 16 bytes, so that an array is aligned where it arrives: runtimes expect that. Both ends
run on one machine, from the same sources; so what does not fit is a fault of ours, and ends the connection (WireError).
"""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson

from models.tensors import DTYPES, Array, Tensors

# Any: JSON.
Head: TypeAlias = Any
#: What a tensor's description is in a head: its name, its type as one letter, its shape.
Described: TypeAlias = list[Any]
Buffer: TypeAlias = bytes | memoryview
#: Kind, number, head, and the bytes of all tensors.
Frame: TypeAlias = tuple[int, int, Head, memoryview]

_PREFIX = struct.Struct("<QQIB11x")
_ALIGNMENT = 16
#: Beyond this nobody has sent a frame: a body of 32 MiB is the largest by default.
_MOST_BYTES = 1 << 36
#: A frame up to this size is one piece of memory: to copy it costs less than to hand its parts to the kernel one by one.
_JOINED_BYTES = 64 * 1024
#: Types by numpy's letter for them: shorter than the protocol's names, and BF16 is to us the uint16 that carries it.
_TYPES: dict[str, np.dtype[Any]] = {dtype.char: dtype for dtype in DTYPES.values()}  # Any: as Array's
#: And the letter of each of numpy's, of which two may stand for one type: int64 is l, and q from ONNX Runtime.
_LETTERS = {char: letter for char in np.typecodes["All"] for letter, dtype in _TYPES.items() if np.dtype(char) == dtype}
_PADDING = tuple(bytes(count) for count in range(_ALIGNMENT))
#: Of an element of BYTES: twice its length in UTF-8, and one more where it is a text and not bytes.
_LENGTHS = np.dtype("<u8")


class WireError(Exception):
    """Bytes that are no frame, or arrays that cannot be sent."""


def frame(kind: int, number: int, head: Head, buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """Return a frame as buffers to be sent one after the other: one where it is small, views on the arrays otherwise.

    Raise WireError for a head that JSON cannot say.
    """
    try:
        said = orjson.dumps(head)
    except TypeError as error:
        raise WireError(f"a head: {error}") from error
    start = _PREFIX.size + len(said)
    padding = -start % _ALIGNMENT
    size = start + padding + sum(len(buffer) for buffer in buffers)
    prefix = _PREFIX.pack(size, number, len(said), kind)
    if size <= _JOINED_BYTES:
        return [b"".join((prefix, said, _PADDING[padding], *buffers))]
    return [b"".join((prefix, said, _PADDING[padding])), *buffers]


def describe(tensors: Tensors) -> tuple[list[Described], list[Buffer]]:
    """Return what a head says of tensors, and their buffers, padded, without a copy where they are contiguous.

    Raise WireError for an array of a type that no tensor has.
    """
    described: list[Described] = []
    buffers: list[Buffer] = []
    for name, array in tensors.items():
        dtype = array.dtype
        letter = _LETTERS.get(dtype.char)
        if letter is None or not dtype.isnative:
            raise WireError(f"{name}: expected an array of a tensor's type, found dtype {dtype}")
        described.append([name, letter, array.shape])
        if letter == "O":
            data: Buffer = _texts(name, array)
        elif array.size:
            contiguous = array if array.flags.c_contiguous else np.ascontiguousarray(array)
            data = contiguous.reshape(-1).data.cast("B")
        else:
            continue
        buffers.append(data)
        if padding := -len(data) % _ALIGNMENT:
            buffers.append(_PADDING[padding])
    return described, buffers


def tensors_of(described: Iterable[Described], data: memoryview) -> dict[str, Array]:
    """Return the tensors that a head describes, as read-only views on their bytes; raise WireError."""
    tensors: dict[str, Array] = {}
    place = 0
    try:
        for name, letter, shape in described:
            dtype = _TYPES[letter]
            count = math.prod(shape)  # Python's integers: no product of lengths can overflow
            if count < 0:
                raise ValueError(f"{name} has the shape {shape}")
            if letter == "O":
                array, size = _read_texts(data[place:], count)
            elif count:
                array, size = np.frombuffer(data, dtype, count, place), count * dtype.itemsize
            else:
                array, size = np.empty(0, dtype), 0
            tensors[name] = array.reshape(shape)
            place += size + -size % _ALIGNMENT
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise WireError(f"tensors: expected bytes as the head describes them, found others: {error}") from error
    return tensors


def _texts(name: str, array: Array) -> bytes:
    """Return the bytes of an array of texts and byte strings, each to come back as what it was."""
    elements = array.ravel().tolist()
    lengths = np.empty(len(elements), _LENGTHS)
    parts = [b""] * len(elements)
    for place, element in enumerate(elements):
        if isinstance(element, str):
            parts[place] = part = element.encode("utf-8", "surrogatepass")
            lengths[place] = 2 * len(part) + 1
        elif isinstance(element, bytes):
            parts[place] = element
            lengths[place] = 2 * len(element)
        else:
            raise WireError(f"{name}: expected texts or bytes, found {type(element).__name__} as element {place}")
    return b"".join((lengths.tobytes(), *parts))


def _read_texts(data: memoryview, count: int) -> tuple[Array, int]:
    """Return an array of texts and byte strings, and the size of its bytes; raise ValueError."""
    # A length takes eight bytes: a count that is too large is refused before anything is allocated for it.
    place = count * _LENGTHS.itemsize
    if place > len(data):
        raise ValueError(f"{count} elements in {len(data)} bytes")
    array = np.empty(count, dtype=object)
    lengths: list[int] = np.frombuffer(data, _LENGTHS, count).tolist() if count else []
    for index, length in enumerate(lengths):
        stop = place + length // 2
        if stop > len(data):
            raise ValueError(f"element {index} ends behind the data")
        part = bytes(data[place:stop])
        array[index] = part.decode("utf-8", "surrogatepass") if length % 2 else part
        place = stop
    return array, place


class Reader:
    """Makes frames of the bytes that come in, wherever they are cut. Arrays stay views on the memory they came into.

    Whoever receives asks for `space` first: None, and any number of bytes may be received and given to `take`; or memory,
    the rest of a frame that has begun, to receive into and to tell of with `filled`.
    """

    def __init__(self) -> None:
        self._begun = b""
        self._whole: bytearray | None = None
        self._filled = 0

    def space(self) -> memoryview | None:
        """Return the memory that the rest of a frame has to fill, None where none has begun."""
        return None if self._whole is None else memoryview(self._whole)[self._filled :]

    def filled(self, size: int) -> list[Frame]:
        """Return the frame that is whole now that so many bytes more of it are there, if it is; raise WireError."""
        whole = self._whole
        if whole is None:
            raise WireError("expected a frame that has begun, found none")
        self._filled += size
        if self._filled < len(whole):
            return []
        self._whole = None
        memory = memoryview(whole).toreadonly()
        return [_read(memory, *_PREFIX.unpack_from(memory))]

    def take(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole with these bytes; raise WireError."""
        if self._begun:
            data, self._begun = self._begun + data, b""
        memory = memoryview(data)
        frames: list[Frame] = []
        start, end = 0, len(data)
        while end - start >= _PREFIX.size:
            size, number, head, kind = _PREFIX.unpack_from(data, start)
            if not _PREFIX.size + head <= size <= _MOST_BYTES or size % _ALIGNMENT:
                raise WireError(f"a frame: expected its size, found {size} with a head of {head}")
            if size > end - start:
                self._begin(memory[start:], size)
                return frames
            frames.append(_read(memory[start : start + size], size, number, head, kind))
            start += size
        self._begun = data[start:]
        return frames

    def _begin(self, data: memoryview, size: int) -> None:
        """Make room for a whole frame, of which the first bytes are here."""
        try:
            self._whole = bytearray(size)
        except MemoryError as error:
            raise WireError(f"a frame of {size} bytes: there is no memory for it") from error
        self._filled = len(data)
        self._whole[: self._filled] = data


def _read(memory: memoryview, _size: int, number: int, head: int, kind: int) -> Frame:
    start = _PREFIX.size + head
    try:
        said = orjson.loads(memory[_PREFIX.size : start])
    except orjson.JSONDecodeError as error:
        raise WireError("a head: expected JSON, found something else") from error
    return kind, number, said, memory[start + -start % _ALIGNMENT :]
