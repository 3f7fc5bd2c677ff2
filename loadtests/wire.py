"""The Open Inference Protocol as a client writes and reads it: tensors ⇄ V2 JSON and V2 binary.

An encoder of its own, on the standard library and numpy: a fault in the server's own cannot hide here.
"""

import json
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtests.said import words
from models.tensors import DTYPES, Array, Tensors, TensorSpec

#: The header that says where the JSON of a binary body ends.
JSON_LENGTH = "inference-header-content-length"

#: What a length in it looks like: no signs, and no more digits than a length can have.
_LENGTH = re.compile("[0-9]{1,18}")

#: What has no form in JSON by the specification, and travels as bytes only.
BINARY_ONLY = ("FP16", "BF16")


class WireError(ValueError):
    """What came is not an answer of the protocol; the message says where it is not."""


def encode_json(specs: Sequence[TensorSpec], tensors: Tensors) -> bytes:
    """Return an inference request in which everything is JSON."""
    inputs = [{**_described(spec, tensors[spec.name]), "data": _listed(tensors[spec.name])} for spec in specs]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def encode_binary(specs: Sequence[TensorSpec], tensors: Tensors) -> tuple[bytes, int]:
    """Return an inference request whose tensors are bytes behind a JSON head, and the length of that head."""
    raw = [to_bytes(spec, tensors[spec.name]) for spec in specs]
    inputs = [
        {**_described(spec, tensors[spec.name]), "parameters": {"binary_data_size": len(data)}}
        for spec, data in zip(specs, raw, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    return head + b"".join(raw), len(head)


def decode(body: bytes, json_length: str | None) -> tuple[dict[str, Any], dict[str, tuple[str, Array]]]:
    """Return an answer's JSON, and its outputs by name as datatype and array; raise WireError. Any: a stranger's JSON."""
    rest = b""
    if json_length is not None:
        length = int(json_length) if _LENGTH.fullmatch(json_length) else -1
        if not 0 <= length <= len(body):
            raise WireError(f"{JSON_LENGTH}: expected 0 to {len(body)}, found {words(json_length, 40)!r}")
        body, rest = body[:length], body[length:]
    try:
        answer = json.loads(body)
        found = {}
        for output in answer["outputs"]:
            datatype, shape = output["datatype"], _shape(output["shape"])
            size = (output.get("parameters") or {}).get("binary_data_size")
            if size is None:
                array = _from_list(datatype, output["data"], shape)
            else:
                array, rest = from_bytes(datatype, rest[: _size(size, rest)], shape), rest[size:]
            found[output["name"]] = (datatype, array)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, struct.error) as error:
        told = f"found {body[:120]!r} ({words(f'{type(error).__name__}: {error}', 120)})"
        raise WireError(f"expected outputs of the Open Inference Protocol, {told}") from error
    if rest:
        raise WireError(f"expected no bytes after the last output, found {len(rest)}")
    return answer, found


def _shape(shape: object) -> list[int]:
    """Return a shape; raise ValueError for what is none: -1, which numpy would make a length of, and true."""
    if not isinstance(shape, list) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise ValueError("shape: expected lengths")
    return shape


def _size(size: object, rest: bytes) -> int:
    if type(size) is not int or not 0 <= size <= len(rest):
        raise ValueError(f"binary_data_size: expected 0 to {len(rest)}")
    return size


def _described(spec: TensorSpec, array: Array) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape)}


def _listed(array: Array) -> list[Any]:  # Any: numbers, booleans or texts
    """Return the values as JSON has them; FP32 with the fewest digits that are read back as the same number."""
    if array.dtype == np.float32:
        return [float(str(value)) for value in array.ravel()]
    return [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]


def to_bytes(spec: TensorSpec, array: Array) -> bytes:
    """Return a tensor as the binary extension has it."""
    if spec.datatype != "BYTES":
        return np.ascontiguousarray(array, spec.dtype.newbyteorder("<")).tobytes()
    texts = (value if isinstance(value, bytes) else str(value).encode() for value in array.ravel())
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _from_list(datatype: str, data: object, shape: Sequence[int]) -> Array:
    """Return flat or nested lists as an array; raise ValueError for what the datatype cannot hold."""
    dtype = DTYPES[datatype]
    with np.errstate(all="ignore"):  # 1e300 as FP32 is an infinity, and the comparison says so
        array = np.array(data, dtype=dtype)
    if dtype.kind in "fiu" and np.array(data).dtype.kind not in "fiu":
        raise ValueError("expected numbers")  # numpy would make 1.0 of True, and NaN of null
    return array.reshape(shape)


def from_bytes(datatype: str, data: bytes, shape: Sequence[int]) -> Array:
    """Return what `to_bytes` wrote; raise ValueError or struct.error for other bytes."""
    if datatype != "BYTES":
        return np.frombuffer(data, DTYPES[datatype].newbyteorder("<")).astype(DTYPES[datatype]).reshape(shape)
    texts: list[str] = []
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place)
        if place + 4 + length > len(data):
            raise ValueError(f"a text of {length} bytes, of which there are {len(data) - place - 4}")
        texts.append(data[place + 4 : place + 4 + length].decode())
        place += 4 + length
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(shape)
