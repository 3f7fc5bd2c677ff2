"""InferResponse → an answer of the Open Inference Protocol: JSON, with raw tensors behind it where they were asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from models.tensors import Array, Signature
from serving.errors import InvalidInput, Unsupported
from serving.limits import Limits
from serving.protocols import v2_binary, v2_json
from serving.protocols.json_body import Json
from serving.protocols.v2_request import HEADER_LENGTH, V2Request
from serving.request import InferResponse

OCTETS = "application/octet-stream"

#: Shapes of answers remembered for one head: as many as batches have numbers of rows, mostly.
_ANSWERS = 64


@dataclass(slots=True)
class V2Answer:
    """The body, its media type, and the headers that tell how to read it."""

    body: bytes
    media_type: str
    headers: tuple[tuple[str, str], ...]


def encode(
    response: InferResponse, wanted: V2Request, signature: Signature, labels: Sequence[str], limits: Limits
) -> V2Answer:
    """Return the answer; the raw tensors are copied once, into the body. `labels` name classes where they are as many."""
    if wanted.answers and (before := _as_before(response, wanted.answers)) is not None:
        return before
    raw: list[bytes | memoryview] = []
    outputs = []
    for spec in signature.outputs if wanted.outputs is None else map(signature.output, wanted.outputs):
        if spec is None:  # the request was checked against this very signature
            continue
        name, datatype = spec.name, spec.datatype
        wish, array = wanted.wanted(name), response.outputs[name]
        if wish.classes:
            values = _widened(array) if datatype == "BF16" else array
            datatype, array = "BYTES", _largest(values, name, wish.classes, labels, signature, limits.classified)
        json: Json = {"name": name, "datatype": datatype, "shape": array.shape}
        if wish.binary:
            data = v2_binary.write(array)
            json["parameters"] = {"binary_data_size": len(data)}
            raw.append(data)
        else:
            json["data"] = v2_json.write(array, name, datatype)
        outputs.append(json)
    fields: Json = {"model_name": response.model, "model_version": str(response.version)}
    if response.id is not None:
        fields["id"] = response.id
    fields["outputs"] = outputs
    head = orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return V2Answer(head, "application/json", ())
    if wanted.answers is not None and len(raw) == len(outputs) and len(wanted.answers) < _ANSWERS:
        arrays = list(response.outputs.values())
        # As many as are told: no class was asked for, which makes texts, and no text has a size of its own.
        if not any(array.dtype == object for array in arrays) and not _classifies(wanted):
            wanted.answers[tuple([array.shape for array in arrays])] = head
    return V2Answer(b"".join((head, *raw)), OCTETS, ((HEADER_LENGTH, str(len(head))),))


def _as_before(response: InferResponse, answers: Mapping[object, bytes]) -> V2Answer | None:
    """Return the answer whose JSON is the one of an answer before: all outputs are bytes, and of the same shapes."""
    arrays = list(response.outputs.values())
    head = answers.get(tuple([array.shape for array in arrays]))
    if head is None:
        return None
    return V2Answer(b"".join((head, *map(v2_binary.write, arrays))), OCTETS, ((HEADER_LENGTH, str(len(head))),))


def _classifies(wanted: V2Request) -> bool:
    return any(wish.classes for wish in (wanted.outputs or {}).values())


def _largest(array: Array, name: str, classes: int, labels: Sequence[str], signature: Signature, most: int) -> Array:
    """Return the largest values of each row as texts "value:index" or "value:index:label", largest first.

    Raise InvalidInput where all rows together have more than `most`.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
    """
    if array.dtype.kind not in "iuf":
        raise Unsupported.at(f"outputs.{name}", expected="a number to classify", found=str(array.dtype))
    rows = array.reshape(len(array), -1) if signature.batched else array.reshape(1, -1)
    count = min(classes, rows.shape[1])
    if len(rows) * count > most:
        raise InvalidInput.at(
            f"outputs.{name}", expected=f"at most {most:,} classes of all rows", found=f"{len(rows) * count:,}"
        )
    # Both ways to turn the order round are exact at the ends of every datatype.
    falling = -rows if rows.dtype.kind == "f" else ~rows
    named = len(labels) == rows.shape[1]
    texts = np.empty((len(rows), count), dtype=object)
    for row, values in enumerate(falling):
        for column, index in enumerate(_first(values, count)):
            label = f":{labels[index]}" if named else ""
            texts[row, column] = f"{rows[row, index]!s}:{index}{label}"
    return texts if signature.batched else texts[0]


def _first(values: Array, count: int) -> Array:
    """Return where the smallest values are, in order, of equal ones the first; what is no number comes last.

    As sorting all of them would, without sorting all of them.
    """
    if count == 0:
        return np.empty(0, dtype=np.intp)
    last = np.partition(values, count - 1)[count - 1]
    number = last == last  # NaN alone differs from itself
    sure = np.flatnonzero(values < last if number else values == values)
    equal = np.flatnonzero(values == last if number else values != values)
    found = np.concatenate((sure, equal[: count - len(sure)]))
    order: Array = found[np.argsort(values[found], kind="stable")]
    return order


def _widened(array: Array) -> Array:
    """Return BF16, carried as its 16 bits, as the FP32 whose upper half it is."""
    wide: Array = (array.astype(np.uint32) << 16).view(np.float32)
    return wide
