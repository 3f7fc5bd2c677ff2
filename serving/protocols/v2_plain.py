"""An inference request that is all JSON and says nothing unusual, read without making an object of every number.

A body of JSON is nearly all numbers. simdjson leaves them where it has parsed them and writes them into one buffer, which
takes a third of what lists of Python's numbers take, and no memory for them. What comes of it is what json_body.py would
give, but that `data` is apart, as arrays. Whatever is unusual (texts, truth values, numbers of another kind, lists nested in
another way, what is no request at all) gives None: the careful reader reads it, or says what is wrong with it.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import simdjson

from models.tensors import Array
from serving.protocols.json_body import Json

#: The fields of a body without its values, and those of each input.
Plain = tuple[Json, list[Array]]

#: A parser keeps twelve times the memory of the largest body that it has read; larger ones than this are read without it.
_BYTES = 1024 * 1024
#: A body with any other field is read carefully: simdjson finds none whose name holds a zero byte.
_FIELDS, _INPUT_FIELDS = {"inputs", "outputs", "id", "parameters"}, {"name", "datatype", "shape", "data", "parameters"}

#: Up to so many brackets are looked for one by one.
_FEW_LISTS = 16
#: Parsers kept: one for a thread at work, and another for one that was not done when it lost the interpreter.
_PARSERS = 2

#: Which buffer holds the values of a datatype exactly: doubles, as Python's own floats are, or integers of 64 bits.
_BUFFERS = {
    **dict.fromkeys(("FP32", "FP64"), ("d", np.float64)),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"), ("i", np.int64)),
    "UINT64": ("u", np.uint64),
}


class PlainReader:
    """Reads bodies. Thread-safe."""

    def __init__(self) -> None:
        self._parsers: deque[simdjson.Parser] = deque(maxlen=_PARSERS)

    def read(self, body: bytes) -> Plain | None:
        """Return the fields of a body, and the values of its inputs as flat arrays; None if it is not plain."""
        # An object, from the first byte on: simdjson passes over a byte order mark, which JSON does not have.
        if len(body) > _BYTES or body[:1] != b"{":
            return None
        try:
            parser = self._parsers.pop()
        except IndexError:
            parser = simdjson.Parser()
        try:
            fields = _fields(parser, body)
        except (ValueError, TypeError, RuntimeError, LookupError):  # all that simdjson raises
            fields = None
        # Everything that refers to the parser's memory is gone by now: it may be used again.
        self._parsers.append(parser)
        return fields


def _fields(parser: simdjson.Parser, body: bytes) -> Plain | None:
    document = parser.parse(body)
    if not isinstance(document, simdjson.Object):
        return None
    fields: Json = {}
    values: list[Array] = []
    # The list of inputs, and one more for every list that is found where it belongs: any other makes the sum wrong.
    lists = 1
    keys = list(document)
    # Nor may a field come twice: simdjson would take the first of them, the careful reader takes the last.
    if not _FIELDS.issuperset(keys) or len(set(keys)) != len(keys):
        return None
    for key in keys:
        value = document[key]
        if key == "inputs" and isinstance(value, simdjson.Array):
            found = _inputs(value, values)
            if found is None:
                return None
            fields[key] = found[0]
            lists += found[1]
        elif key == "outputs" and isinstance(value, simdjson.Array):
            fields[key] = value.as_list()
            lists += 1
        elif key == "parameters" and isinstance(value, simdjson.Object):
            fields[key] = scalars = _scalars(value)
            if scalars is None:
                return None
        elif isinstance(value, simdjson.Array | simdjson.Object):
            return None
        else:
            fields[key] = value
    # A bracket inside a text counts too: then the body is read carefully, as if it were unusual.
    return (fields, values) if _has_lists(body, lists) else None


def _has_lists(body: bytes, lists: int) -> bool:
    """Tell whether a body begins exactly so many lists. Few are found faster than counted, as the rest is passed over."""
    if lists > _FEW_LISTS:
        return body.count(b"[") == lists
    place = -1
    for _ in range(lists):
        place = body.find(b"[", place + 1)
        if place < 0:
            return False
    return body.find(b"[", place + 1) < 0


def _inputs(described: Iterable[Any], values: list[Array]) -> tuple[list[Json], int] | None:
    """Return the inputs without their values, and how many lists they have; None where one is not plain."""
    inputs: list[Json] = []
    lists = 0
    for one in described:
        if not isinstance(one, simdjson.Object):
            return None
        fields: Json = {}
        data: Any = None
        keys = list(one)
        if not _INPUT_FIELDS.issuperset(keys) or len(set(keys)) != len(keys):
            return None
        for key in keys:
            value = one[key]
            if key == "data" and isinstance(value, simdjson.Array):
                data = value
            elif key == "shape" and isinstance(value, simdjson.Array):
                fields[key] = value.as_list()
                lists += 1
            elif key == "parameters" and isinstance(value, simdjson.Object):
                fields[key] = scalars = _scalars(value)
                if scalars is None:
                    return None
            elif isinstance(value, simdjson.Array | simdjson.Object):
                return None
            else:
                fields[key] = value
        buffer = _BUFFERS.get(fields.get("datatype", ""))
        shape = fields.get("shape")
        if data is None or buffer is None or not shape:
            return None
        nested = _lists(data, shape)
        if nested is None:
            return None
        lists += nested
        values.append(np.frombuffer(data.as_buffer(of_type=buffer[0]), buffer[1]))
        inputs.append(fields)
    return inputs, lists


def _scalars(parameters: Any) -> Json | None:
    """Return parameters; None where one is a list or an object, or comes twice."""
    fields: Json = parameters.as_dict()
    if len(fields) != len(parameters) or any(isinstance(value, list | dict) for value in fields.values()):
        return None
    return fields


def _lists(data: Any, shape: list[Any]) -> int | None:
    """Return how many lists the values lie in: one, or nested as the shape says; None for nested in another way."""
    if not len(data) or not isinstance(data[0], simdjson.Array):
        return 1
    level, lists = [data], 1
    for axis, length in enumerate(shape):
        if any(len(part) != length for part in level):
            return None
        if axis + 1 < len(shape):
            level = [inner for part in level for inner in part]
            if not all(isinstance(inner, simdjson.Array) for inner in level):
                return None
            lists += len(level)
    return lists
