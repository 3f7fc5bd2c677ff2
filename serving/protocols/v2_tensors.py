"""The Open Inference Protocol's JSON tensors ⇄ InferRequest and InferResponse.

Each request is judged by its own fields here, before it meets a signature and long before it meets a batch: its shape,
its datatype and the number and kinds of its values must agree among themselves. Nothing is converted silently: 300 is
not a UINT8, true is not 1, 1.5 is not an integer, null is not NaN.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from models.tensors import DTYPES, Array, show_shape
from serving.errors import InvalidInput, MalformedRequest, Unsupported
from serving.limits import Limits
from serving.request import InferRequest, InferResponse

#: Which Python types JSON may show for a datatype. `type(True)` is bool, never int, so booleans are no numbers here.
_JSON_TYPES: Mapping[str, tuple[set[type], str]] = {
    "BOOL": ({bool}, "true or false"),
    "FP32": ({int, float}, "numbers"),
    "FP64": ({int, float}, "numbers"),
    "BYTES": ({str}, "texts"),
    **{name: ({int}, "integers") for name in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")},
}

Json = dict[str, Any]  # Any: JSON from a client, looked at field by field below


def decode(body: bytes, *, model: str, version: int | None, limits: Limits) -> InferRequest:
    """Return the request in a V2 JSON body; raise MalformedRequest, InvalidInput or Unsupported naming the field."""
    fields = parse(body, limits)
    if not isinstance(fields, dict):
        raise MalformedRequest.at("body", expected="an object", found=kind_of(fields))
    inputs: dict[str, Array] = {}
    for index, field in enumerate(_objects(fields, "inputs", limits.tensors)):
        name, array = _read_tensor(field, f"inputs[{index}]", limits)
        if name in inputs:
            raise MalformedRequest.at(f"inputs[{index}].name", expected="each input once", found=f"{name!r} again")
        inputs[name] = array
    if not inputs:
        raise MalformedRequest.at("inputs", expected="at least one input", found="none")
    return InferRequest(model, version, inputs, outputs=_wanted(fields, limits), id=_id(fields, limits))


def parse(body: bytes, limits: Limits) -> object:
    """Return the JSON in a body; raise MalformedRequest where there is none, or where it is built to fill the memory."""
    # Counted before they are built; brackets in a text count too, but no text of ours has two million.
    lists = body.count(b"[") + body.count(b"{")
    if lists > limits.json_lists:
        raise MalformedRequest.at("body", expected=f"at most {limits.json_lists:,} lists and objects", found=f"{lists:,}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest.at("body", expected="JSON", found=f"{len(body):,} bytes that are not: {error}") from error


def encode(response: InferResponse, datatypes: Mapping[str, str]) -> bytes:
    """Return the V2 JSON body of an answer. A NaN or infinity, which JSON lacks, is written as null."""
    return orjson.dumps(
        {
            "model_name": response.model,
            "model_version": str(response.version),
            **({} if response.id is None else {"id": response.id}),
            "outputs": [
                {"name": name, "datatype": datatypes[name], "shape": array.shape, "data": _writable(array)}
                for name, array in response.outputs.items()
            ],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _read_tensor(field: Json, place: str, limits: Limits) -> tuple[str, Array]:
    """Return the name and the array of one input."""
    name = _name(field, place, limits)
    datatype = field.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise MalformedRequest.at(f"{name}.datatype", expected=f"one of {', '.join(DTYPES)}", found=_show(datatype))
    shape = _shape(field.get("shape"), name, limits)
    if "data" not in field:
        raise MalformedRequest.at(f"{name}.data", expected="the tensor's values", found="no data")
    return name, _array(field["data"], name, datatype, shape)


def _shape(value: object, name: str, limits: Limits) -> tuple[int, ...]:
    if isinstance(value, list) and len(value) > limits.dimensions:
        expected = f"at most {limits.dimensions} dimensions"
        raise MalformedRequest.at(f"{name}.shape", expected=expected, found=f"{len(value)}")
    if not isinstance(value, list) or not all(type(length) is int and length >= 0 for length in value):
        raise MalformedRequest.at(f"{name}.shape", expected="a list of lengths, each 0 or more", found=_show(value))
    return tuple(value)


def _array(data: object, name: str, datatype: str, shape: tuple[int, ...]) -> Array:
    """Return the array that `data`, a flat list or lists nested as the shape says, holds in row-major order."""
    if datatype not in _JSON_TYPES:
        raise Unsupported.at(f"{name}.datatype", expected="a datatype that JSON can carry", found=datatype)
    if not isinstance(data, list):
        raise MalformedRequest.at(f"{name}.data", expected="a list", found=kind_of(data))
    values = _flat(data, name, shape)
    count = math.prod(shape)  # Python's integers: no product of lengths can overflow
    if len(values) != count:
        expected = f"{count} values for shape {show_shape(shape)}"
        raise InvalidInput.at(f"{name}.data", expected=expected, found=f"{len(values)} values")
    allowed, words = _JSON_TYPES[datatype]
    if strange := set(map(type, values)) - allowed:
        found = next(value for value in values if type(value) in strange)
        raise InvalidInput.at(f"{name}.data", expected=f"{words} for {datatype}", found=_show(found))
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=DTYPES[datatype])
    except OverflowError:
        raise _out_of_range(values, name, datatype) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _out_of_range(values, name, datatype)
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # a shape without values passes the count, however large its other lengths are
        raise InvalidInput.at(f"{name}.shape", expected="lengths an array can have", found=show_shape(shape)) from None


def _flat(data: list[Any], name: str, shape: tuple[int, ...]) -> list[Any]:
    """Return the values of a list that is flat already, or nested exactly as the shape says."""
    if not data or type(data[0]) is not list:
        return data
    level = [data]
    for axis, length in enumerate(shape):
        for part in level:
            if type(part) is not list or len(part) != length:
                found = f"{len(part)} values" if type(part) is list else kind_of(part)
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
    return InvalidInput.at(f"{name}.data", expected=f"values of {datatype}, {low} to {high}", found=_show(found))


def _objects(fields: Json, key: str, most: int) -> list[Json]:
    """Return a field that is a list of at most so many objects."""
    values = fields.get(key)
    if isinstance(values, list) and len(values) > most:
        raise MalformedRequest.at(key, expected=f"at most {most}", found=f"{len(values)}")
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise MalformedRequest.at(key, expected="a list of objects", found=kind_of(values))
    return values


def _name(field: Json, place: str, limits: Limits) -> str:
    """Return a tensor's name; it is echoed in errors, so it has a limit."""
    name = field.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= limits.name_characters:
        expected = f"a name of at most {limits.name_characters} characters"
        found = f"{len(name)} characters" if isinstance(name, str) else kind_of(name)
        raise MalformedRequest.at(f"{place}.name", expected=expected, found=found)
    return name


def _wanted(fields: Json, limits: Limits) -> tuple[str, ...] | None:
    """Return the names of the outputs asked for, in that order; None for all."""
    if fields.get("outputs") is None:
        return None
    names = []
    for index, field in enumerate(_objects(fields, "outputs", limits.tensors)):
        names.append(_name(field, f"outputs[{index}]", limits))
    return tuple(dict.fromkeys(names)) or None


def _id(fields: Json, limits: Limits) -> str | None:
    value = fields.get("id")
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limits.id_characters:
        expected = f"a text of at most {limits.id_characters} characters"
        found = f"{len(value)} characters" if isinstance(value, str) else kind_of(value)
        raise MalformedRequest.at("id", expected=expected, found=found)
    return value


def _writable(array: Array) -> object:
    """Return an output's values, flat and in row-major order, as orjson can write them."""
    if array.dtype == object:
        return [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    return np.ascontiguousarray(array).ravel()


def kind_of(value: object) -> str:
    """Return what sort of JSON value this is, in words."""
    words = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return "nothing" if value is None else words[type(value)]


def _show(value: object) -> str:
    """Return a value as it was written, cut to a length that fits into a message."""
    try:
        text = orjson.dumps(value[:81] if isinstance(value, list) else value).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson writes (254 levels), though not than it reads (1,024)
        return kind_of(value)
    return text if len(text) <= 80 else text[:77] + "…"
