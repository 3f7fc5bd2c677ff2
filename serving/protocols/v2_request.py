"""An inference request of the Open Inference Protocol: its framing, and its values under their names.

The body is JSON, or JSON with raw tensors behind it, or one raw tensor alone; which of them is told by the header
`Inference-Header-Content-Length` and never by Content-Type, which real clients leave out or set wrongly. What the JSON says
is read in v2_head.py. Each request is judged by its own fields, before it meets a queue and long before it meets a batch.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from models.tensors import Array, Signature, TensorSpec
from serving.errors import InvalidInput, MalformedRequest
from serving.limits import Limits
from serving.protocols import v2_binary, v2_json
from serving.protocols.json_body import parse
from serving.protocols.route import HttpRequest
from serving.protocols.v2_head import HeadMemory, V2Head, WantedOutput, id_of, read_head
from serving.protocols.v2_plain import PlainReader

HEADER_LENGTH = "inference-header-content-length"
_NOTHING = memoryview(b"")
#: In front of what is remembered of a body whose values were left out: no JSON begins so.
_WITHOUT_VALUES = b"\x00"
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


# Not frozen, as it is made for every request; nobody changes it.
@dataclass(slots=True)
class V2Request:
    """What an inference request says. `outputs` None means all, sent as `unlisted` says."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, WantedOutput] | None = None
    unlisted: WantedOutput = field(default_factory=WantedOutput)
    id: str | None = None
    timeout_seconds: float | None = None
    priority: int = 0
    #: The beginnings of answers that were made before, where the head was remembered.
    answers: dict[object, bytes] | None = None

    def wanted(self, output: str) -> WantedOutput:
        """Return how an output is to be sent."""
        return self.unlisted if self.outputs is None else self.outputs[output]


class Decoder:
    """Reads inference requests. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memory = HeadMemory()
        self._plain = PlainReader()

    def decode(self, request: HttpRequest, signature: Signature) -> V2Request:
        """Return what a request says; raise MalformedRequest, InvalidInput or Unsupported naming the field."""
        body = request.body
        declared = request.headers.get(HEADER_LENGTH)
        if declared is None:
            return self._json(body, signature)
        if not _NUMBER.fullmatch(declared) or int(declared) > len(body):
            expected = f"a number of bytes, at most the body's {len(body)}"
            raise MalformedRequest.at(HEADER_LENGTH, expected=expected, found=f"{declared!r:.50}")
        length = int(declared)
        if length == 0:
            return V2Request(
                {signature.inputs[0].name: _raw(memoryview(body), signature)}, unlisted=WantedOutput(binary=True)
            )
        return self._binary(body[:length], memoryview(body)[length:], signature)

    def _json(self, body: bytes, signature: Signature) -> V2Request:
        """Return what a body without anything behind its JSON says."""
        plain = self._plain.read(body)
        if plain is None:
            return _filled(read_head(parse(body, self._limits), signature, self._limits), _NOTHING)
        fields, values = plain
        # The id is another one each time; without it, and without the values, a client says the same again and again.
        named = "id" in fields
        name = fields.pop("id", None)
        said = _WITHOUT_VALUES + orjson.dumps(fields)
        head = self._memory.find(said, signature)
        if head is not None:
            return self._named(head, values, name) if named else _filled(head, _NOTHING, values)
        if named:
            fields["id"] = name
        for one, array in zip(fields["inputs"], values, strict=True):
            one["data"] = array
        head = read_head(fields, signature, self._limits)
        request = _filled(head, _NOTHING)
        head.id = None
        self._memory.keep(said, signature, head)
        if request.id is not None:
            request.answers = None  # an answer begins with it
        return request

    def _named(self, head: V2Head, values: Sequence[Array], name: object) -> V2Request:
        """Return a request that says what another has said, under an id of its own."""
        id = id_of({"id": name}, self._limits)
        request = _filled(head, _NOTHING, values)
        if id is not None:
            request.id, request.answers = id, None
        return request

    def _binary(self, json: bytes, data: memoryview, signature: Signature) -> V2Request:
        """Return what a head of JSON says with the data behind it."""
        head = self._memory.find(json, signature)
        if head is not None:
            return _filled(head, data)
        head = read_head(parse(json, self._limits), signature, self._limits)
        # Only once it is known to be right in everything: what is wrong with it is said anew, each time.
        request = _filled(head, data)
        if all(one.size is not None for one in head.inputs):
            self._memory.keep(json, signature, head)
        return request


def _filled(head: V2Head, data: memoryview, values: Sequence[Array] | None = None) -> V2Request:
    """Return a request with its values: of the JSON, or taken from the data behind it, of which nothing may be left.

    `values` are those of the JSON, in the order of the inputs, where they are not in the head itself.
    """
    inputs: dict[str, Array] = {}
    place = 0
    for number, one in enumerate(head.inputs):
        name, size = one.name, one.size
        if size is None:
            found = one.data if values is None else values[number]
            inputs[name] = v2_json.read(found, name, one.datatype, one.shape)
            continue
        if size > len(data) - place:
            found = f"{size}, of which {len(data) - place} are there"
            raise MalformedRequest.at(f"{name}.binary_data_size", expected="bytes behind the JSON", found=found)
        inputs[name] = v2_binary.read(data[place : place + size], name, one.datatype, one.shape)
        place += size
    if place != len(data):
        raise MalformedRequest.at("body", expected=f"{place} bytes behind the JSON", found=f"{len(data)}")
    return V2Request(
        inputs,
        outputs=head.outputs,
        unlisted=head.unlisted,
        id=head.id,
        timeout_seconds=head.timeout_seconds,
        priority=head.priority,
        answers=head.answers,
    )


def _raw(body: memoryview, signature: Signature) -> Array:
    """Return the one input that a body without any JSON is: one row, its shape taken from the signature."""
    if len(signature.inputs) != 1:
        expected = f"a JSON head, as the model has {len(signature.inputs)} inputs"
        raise MalformedRequest.at(HEADER_LENGTH, expected=expected, found="0")
    spec = signature.inputs[0]
    shape = tuple(1 if axis == 0 and signature.batched else length for axis, length in enumerate(signature.full_shape(spec)))
    if spec.datatype == "BYTES":
        return _raw_text(body, spec, shape)
    itemsize = spec.dtype.itemsize
    free = [axis for axis, length in enumerate(shape) if length is None]
    known = itemsize * math.prod(length for length in shape if length is not None)
    if len(free) > 1:
        raise MalformedRequest.at(HEADER_LENGTH, expected="a JSON head, as several axes are free", found="0")
    if free and known:
        shape = tuple(len(body) // known if length is None else length for length in shape)
    return v2_binary.read(body, spec.name, spec.datatype, tuple(length or 0 for length in shape))


def _raw_text(body: memoryview, spec: TensorSpec, shape: tuple[int | None, ...]) -> Array:
    """Return the one text that a raw body is, for an input of one element."""
    if any(length not in (1, None) for length in shape):
        raise MalformedRequest.at(HEADER_LENGTH, expected="a JSON head, as the input has several elements", found="0")
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError:
        raise InvalidInput.at(f"{spec.name}.data", expected="UTF-8 text", found=f"{len(body)} other bytes") from None
    return np.array([text], dtype=object).reshape((1,) * len(shape))
