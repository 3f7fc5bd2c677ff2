"""The Open Inference Protocol's JSON data ⇄ arrays.

Nothing is converted silently: 300 is not a UINT8, true is not 1, 1.5 is not an integer, null is not NaN.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from models.tensors import DTYPES, Array, show_shape
from serving.errors import InvalidInput, MalformedRequest, Unsupported
from serving.protocols.json_body import kind, show

#: Which Python types JSON may show for a datatype. `type(True)` is bool, never int, so booleans are no numbers here.
#: FP16 and BF16 are missing: the protocol calls them problematic in JSON, and no other server takes them.
_JSON_TYPES: Mapping[str, tuple[set[type], str]] = {
    "BOOL": ({bool}, "true or false"),
    "FP32": ({int, float}, "numbers"),
    "FP64": ({int, float}, "numbers"),
    "BYTES": ({str}, "texts"),
    **{name: ({int}, "integers") for name in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")},
}


#: Above this the packed values, and the arguments that they are on the way, are too much memory for what they save.
_PACKED_VALUES = 65_536


#: Below this, BLAS starts no threads for a dot product.
_FEW_VALUES = 8192


def carries(datatype: str) -> bool:
    """Tell whether JSON can carry a datatype."""
    return datatype in _JSON_TYPES


def read(data: object, name: str, datatype: str, shape: tuple[int, ...]) -> Array:
    """Return the array in `data`, a flat list or lists nested as the shape says, in row-major order.

    An array has its numbers read already (v2_plain.py): all that is left to say is whether the datatype holds them.
    """
    if isinstance(data, np.ndarray):
        return _cast(data, name, datatype, shape)
    if not carries(datatype):
        raise Unsupported.at(f"{name}.datatype", expected="a datatype that JSON can carry", found=datatype)
    if not isinstance(data, list):
        raise MalformedRequest.at(f"{name}.data", expected="a list", found=kind(data))
    values = _flat(data, name, shape)
    _check_count(len(values), name, shape)
    allowed, words = _JSON_TYPES[datatype]
    if strange := set(map(type, values)) - allowed:
        found = next(value for value in values if type(value) in strange)
        raise InvalidInput.at(f"{name}.data", expected=f"{words} for {datatype}", found=show(found))
    try:
        array = _array(values, DTYPES[datatype])
    except OverflowError:
        raise _out_of_range(values, name, datatype) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _out_of_range(values, name, datatype)
    return shaped(array, name, shape)


def _cast(values: Array, name: str, datatype: str, shape: tuple[int, ...]) -> Array:
    """Return doubles, or integers of 64 bits, as an array of the datatype."""
    _check_count(len(values), name, shape)
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = values.astype(dtype, copy=False)
            # What is too large for the datatype has become infinite, and so does the sum of all squares. That takes a
            # quarter of the time that looking at each takes, on one thread as long as they are few; it is no proof the
            # other way round.
            finite = array.size <= _FEW_VALUES and math.isfinite(array.dot(array))
        if not finite and not np.isfinite(array).all():
            raise _out_of_range(values.tolist(), name, datatype)
        return shaped(array, name, shape)
    limits = np.iinfo(dtype)
    if values.size and not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        raise _out_of_range(values.tolist(), name, datatype)
    return shaped(values.astype(dtype, copy=False), name, shape)


def _check_count(found: int, name: str, shape: tuple[int, ...]) -> None:
    count = math.prod(shape)  # Python's integers: no product of lengths can overflow
    if found != count:
        expected = f"{count} values for shape {show_shape(shape)}"
        raise InvalidInput.at(f"{name}.data", expected=expected, found=f"{found} values")


def shaped(array: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Return an array of as many values in its shape; one without values may name lengths that no array can have."""
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):
        raise InvalidInput.at(f"{name}.shape", expected="lengths an array can have", found=show_shape(shape)) from None


def write(array: Array, name: str, datatype: str) -> object:
    """Return an output's values, flat and in row-major order, as orjson can write them; NaN and infinity become null."""
    if not carries(datatype):
        expected = "a datatype that JSON can carry: ask for binary_data"
        raise Unsupported.at(f"outputs.{name}", expected=expected, found=datatype)
    if array.dtype == object:
        return array.ravel().tolist()
    return np.ascontiguousarray(array).ravel()


def _array(values: list[Any], dtype: np.dtype[Any]) -> Array:
    """Return values of the right types as an array; a float that is too large becomes infinite, other OverflowError."""
    if dtype.kind != "f" or len(values) > _PACKED_VALUES:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=dtype)
    # numpy looks at each value twice; to pack them as doubles, which Python's floats are, takes half of its time.
    doubles = np.frombuffer(struct.pack(f"{len(values)}d", *values), np.float64)
    with np.errstate(over="ignore"):
        return doubles.astype(dtype, copy=False)


def _flat(data: list[Any], name: str, shape: tuple[int, ...]) -> list[Any]:
    """Return the values of a list that is flat already, or nested exactly as the shape says."""
    if not data or type(data[0]) is not list:
        return data
    level = [data]
    for axis, length in enumerate(shape):
        for part in level:
            if type(part) is not list or len(part) != length:
                found = f"{len(part)} values" if type(part) is list else kind(part)
                raise InvalidInput.at(f"{name}.data", expected=f"{length} values along axis {axis}", found=found)
        level = list(chain.from_iterable(level))
    return level


def _out_of_range(values: Sequence[Any], name: str, datatype: str) -> InvalidInput:
    """Return the error that names the first value which the datatype cannot hold."""
    dtype = DTYPES[datatype]
    low: int | float
    high: int | float
    if dtype.kind == "f":
        low, high = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    found = next((value for value in values if not low <= value <= high), None)
    return InvalidInput.at(f"{name}.data", expected=f"values of {datatype}, {low} to {high}", found=show(found))
