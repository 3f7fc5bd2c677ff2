"""The Open Inference Protocol's binary tensor data ⇄ arrays: little-endian, row-major, without padding.

BYTES are elements of a 4-byte length and so many bytes; they are taken for UTF-8, since texts are what a model with
string inputs takes. BF16, which numpy lacks, travels as its 16 bits in a uint16.
"""

import math
import struct

import numpy as np

from models.tensors import DTYPES, Array, show_shape
from serving.errors import InvalidInput, MalformedRequest
from serving.protocols.v2_json import shaped

_LENGTH = struct.Struct("<I")

#: A copy of so many bytes takes less than the 5 µs or so that two threads need to hand over the GIL and back.
_GIL_BYTES = 64 * 1024


def read(data: memoryview, name: str, datatype: str, shape: tuple[int, ...]) -> Array:
    """Return the array in `data`, as a view on it where it is aligned there; raise InvalidInput unless it fits exactly."""
    count = math.prod(shape)  # Python's integers: no product of lengths can overflow
    if datatype == "BYTES":
        return shaped(_read_bytes(data, name, count), name, shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize} bytes for {datatype} of shape {show_shape(shape)}"
        raise InvalidInput.at(f"{name}.binary_data_size", expected=expected, found=f"{len(data)} bytes")
    if datatype == "BOOL" and (np.frombuffer(data, np.uint8) > 1).any():
        raise InvalidInput.at(f"{name}.data", expected="a byte of 0 or 1 for each BOOL", found="another byte")
    array = shaped(np.frombuffer(data, dtype), name, shape)
    # The JSON in front has any length, so the tensor may begin at any byte; runtimes expect aligned memory.
    if array.flags.aligned:
        return array
    if len(data) > _GIL_BYTES:
        return array.copy()
    # numpy gives the GIL away for a copy of 500 elements or more, and then waits for a thread that computes.
    return np.frombuffer(bytes(data), dtype).reshape(array.shape)


def write(array: Array) -> bytes | memoryview:
    """Return the bytes of an output; a view on it where it is contiguous."""
    if array.dtype == object:
        parts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]
        return b"".join(chunk for part in parts for chunk in (_LENGTH.pack(len(part)), part))
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


def _read_bytes(data: memoryview, name: str, count: int) -> Array:
    """Return so many texts as an object array of one axis."""
    # An element takes four bytes at least: a count that is too large is refused before anything is allocated for it.
    if count * _LENGTH.size > len(data):
        raise InvalidInput.at(f"{name}.data", expected=f"{count} elements", found=f"{len(data)} bytes")
    array = np.empty(count, dtype=object)
    place = 0
    for index in range(count):
        if place + _LENGTH.size > len(data):
            raise InvalidInput.at(f"{name}.data", expected=f"{count} elements", found=f"{index} before the data ends")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if place + length > len(data):
            found = f"element {index} of {length} bytes where {len(data) - place} are left"
            raise InvalidInput.at(f"{name}.data", expected=f"{count} whole elements", found=found)
        try:
            array[index] = str(data[place : place + length], "utf-8")
        except UnicodeDecodeError:
            raise InvalidInput.at(f"{name}.data", expected="UTF-8 texts", found=f"other bytes in element {index}") from None
        place += length
    if place != len(data):
        raise MalformedRequest.at(
            f"{name}.data", expected=f"{count} elements", found=f"{len(data) - place} bytes behind them"
        )
    return array
