"""What the JSON of an inference request says besides the values: inputs and outputs by name, and how to treat it all.

A client that sends tensors as bytes says the same with every request of the same shape. So what was read is remembered, and
what it says is checked once (see HeadMemory).

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.tensors import DTYPES, Signature, TensorSpec, show_shape
from serving.errors import InvalidInput, MalformedRequest, Unsupported
from serving.limits import Limits
from serving.protocols.json_body import Json, kind, show


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """How one output is to be sent: as raw bytes or in the JSON, whole or (`classes` > 0) as its largest values."""

    binary: bool = False
    classes: int = 0


@dataclass(slots=True)
class HeadInput:
    """An input: what it is, and how many bytes behind the JSON are its values; None: they are `data`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int | None
    data: object = None


@dataclass(slots=True)
class V2Head:
    """What the JSON says. `outputs` None means all, sent as `unlisted` says."""

    inputs: tuple[HeadInput, ...]
    outputs: Mapping[str, WantedOutput] | None = None
    unlisted: WantedOutput = field(default_factory=WantedOutput)
    id: str | None = None
    timeout_seconds: float | None = None
    priority: int = 0
    #: The beginnings of answers, by what they depend on besides this (see v2_response.py).
    answers: dict[object, bytes] = field(default_factory=dict)


class HeadMemory:
    """Heads that were read, by their bytes and the signature they were read for. Thread-safe.

    Few, and small ones: 256 of at most 2 KiB. When it is full it is emptied: whoever fills it with heads that never come
    again makes the others' be read anew now and then, which is what happens without it.
    """

    _HEADS, _BYTES = 256, 2048

    def __init__(self) -> None:
        # The signature is kept beside its identity, so that no other one can get it meanwhile.
        self._heads: dict[tuple[int, bytes], tuple[Signature, V2Head]] = {}

    def find(self, head: bytes, signature: Signature) -> V2Head | None:
        """Return what these very bytes were found to say."""
        found = self._heads.get((id(signature), head))
        return None if found is None else found[1]

    def keep(self, head: bytes, signature: Signature, said: V2Head) -> None:
        """Remember what a head says, if it is small, but no values that are in it."""
        if len(head) > self._BYTES:
            return
        for one in said.inputs:
            one.data = None
        if len(self._heads) >= self._HEADS:
            self._heads = {}
        self._heads[id(signature), head] = (signature, said)


def read_head(fields: Json, signature: Signature, limits: Limits) -> V2Head:
    """Return what a JSON head says; raise MalformedRequest, InvalidInput or Unsupported naming the field."""
    described = _objects(fields, "inputs", limits.tensors)
    if not described:
        raise MalformedRequest.at("inputs", expected="at least one input", found="none")
    inputs: dict[str, HeadInput] = {}
    for index, json in enumerate(described):
        name, spec, shape = _described(json, f"inputs[{index}]", signature, limits)
        if name in inputs:
            raise MalformedRequest.at(f"inputs[{index}].name", expected="each input once", found=f"{name!r} again")
        inputs[name] = HeadInput(name, spec.datatype, shape, _source(json, name), json.get("data"))
    parameters = _parameters(fields, "parameters")
    for key in parameters:
        if key.startswith("triton_"):
            raise MalformedRequest.at(f"parameters.{key:.100}", expected="no reserved name", found="one of Triton's own")
    if parameters.get("sequence_id"):
        raise Unsupported("parameters.sequence_id: this server keeps no state between requests", field="sequence_id")
    unlisted = WantedOutput(binary=_flag(parameters, "parameters", "binary_data_output") or False)
    timeout = _whole(parameters, "parameters", "timeout")
    return V2Head(
        tuple(inputs.values()),
        outputs=_outputs(fields, unlisted, signature, limits),
        unlisted=unlisted,
        id=id_of(fields, limits),
        timeout_seconds=timeout / 1e6 if timeout else None,  # the protocol counts microseconds, and 0 says nothing
        priority=_whole(parameters, "parameters", "priority"),
    )


def _described(json: Json, place: str, signature: Signature, limits: Limits) -> tuple[str, TensorSpec, tuple[int, ...]]:
    """Return the name of an input, what the signature says of it, and the shape the request says it has."""
    name = json.get("name")
    if not isinstance(name, str):
        raise MalformedRequest.at(f"{place}.name", expected="a name", found=kind(name))
    spec = signature.input(name)
    if spec is None:
        expected = f"one of the inputs {', '.join(known.name for known in signature.inputs)}"
        raise InvalidInput.at(f"{place}.name", expected=expected, found=f"{name!r:.100}")
    datatype = json.get("datatype")
    if datatype != spec.datatype:
        error = InvalidInput if isinstance(datatype, str) and datatype in DTYPES else MalformedRequest
        raise error.at(f"{name}.datatype", expected=spec.datatype, found=show(datatype))
    shape = json.get("shape")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        found = show_shape(shape[:20]) if isinstance(shape, list) and all(type(x) is int for x in shape) else kind(shape)
        raise MalformedRequest.at(f"{name}.shape", expected="a list of lengths, each 0 or more", found=found)
    if len(shape) > limits.dimensions:
        expected = f"at most {limits.dimensions} dimensions"
        raise MalformedRequest.at(f"{name}.shape", expected=expected, found=str(len(shape)))
    # Before any data is looked at: rows that the model could never take need not be read.
    _check_shape(name, spec, tuple(shape), signature)
    return name, spec, tuple(shape)


def _check_shape(name: str, spec: TensorSpec, shape: tuple[int, ...], signature: Signature) -> None:
    """Raise InvalidInput unless a declared shape is one that the model takes."""
    wanted = signature.full_shape(spec)
    fits = len(wanted) == len(shape)
    if fits:
        # A plain loop, as in Signature.check_tensor: this is on the path of every request.
        for expected_length, length in zip(wanted, shape, strict=True):
            if expected_length is not None and expected_length != length:
                fits = False
                break
    if not fits:
        raise InvalidInput.at(f"{name}.shape", expected=show_shape(wanted), found=show_shape(shape))
    if signature.batched and not 1 <= shape[0] <= signature.max_batch_size:
        expected = f"1 to {signature.max_batch_size} rows"
        raise InvalidInput.at(f"{name}.shape", expected=expected, found=f"{shape[0]} rows")


def _source(json: Json, name: str) -> int | None:
    """Return the size of the input's raw data, None if its values are in the JSON; exactly one of both must be told."""
    parameters = _parameters(json, f"{name}.parameters", key="parameters")
    if "shared_memory_region" in parameters:
        raise Unsupported(f"{name}.shared_memory_region: this server maps no client's memory", field=name)
    raw, listed = "binary_data_size" in parameters, json.get("data") is not None
    if raw == listed:
        found = "both" if raw else "neither"
        raise MalformedRequest.at(f"{name}.data", expected="either data or parameters.binary_data_size", found=found)
    return _whole(parameters, name, "binary_data_size") if raw else None


def _outputs(
    fields: Json, unlisted: WantedOutput, signature: Signature, limits: Limits
) -> Mapping[str, WantedOutput] | None:
    """Return the outputs asked for, in that order; None for all."""
    if fields.get("outputs") is None:
        return None
    wanted: dict[str, WantedOutput] = {}
    for index, json in enumerate(_objects(fields, "outputs", limits.tensors)):
        place = f"outputs[{index}]"
        name = json.get("name")
        if not isinstance(name, str) or signature.output(name) is None:
            expected = f"one of the outputs {', '.join(spec.name for spec in signature.outputs)}"
            error = InvalidInput if isinstance(name, str) else MalformedRequest
            raise error.at(f"{place}.name", expected=expected, found=f"{show(name):.100}")
        if name in wanted:
            raise MalformedRequest.at(f"{place}.name", expected="each output once", found=f"{name!r} again")
        parameters = _parameters(json, f"{place}.parameters", key="parameters")
        if "shared_memory_region" in parameters:
            raise Unsupported(f"{name}.shared_memory_region: this server maps no client's memory", field=name)
        binary = _flag(parameters, place, "binary_data")
        classes = _whole(parameters, place, "classification")
        if classes > limits.classes:
            raise MalformedRequest.at(f"{place}.classification", expected=f"at most {limits.classes}", found=f"{classes}")
        wanted[name] = WantedOutput(
            binary=unlisted.binary if binary is None else binary,
            classes=classes,
        )
    return wanted or None


def _objects(fields: Json, key: str, most: int) -> list[Json]:
    """Return a field that is a list of at most so many objects."""
    values = fields.get(key)
    if isinstance(values, list) and len(values) > most:
        raise MalformedRequest.at(key, expected=f"at most {most}", found=f"{len(values)}")
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise MalformedRequest.at(key, expected="a list of objects", found=kind(values))
    return values


def _parameters(fields: Json, place: str, *, key: str = "parameters") -> Json:
    """Return a field that is an object of texts, numbers and truth values, empty where it is absent."""
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest.at(place, expected="an object", found=kind(value))
    for name, parameter in value.items():
        if parameter is None or isinstance(parameter, dict | list):
            expected = "a text, a number, true or false"
            raise MalformedRequest.at(f"{place}.{name:.100}", expected=expected, found=kind(parameter))
    return value


def _flag(parameters: Json, place: str, key: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedRequest.at(f"{place}.{key}", expected="true or false", found=show(value))
    return value


def _whole(parameters: Json, place: str, key: str) -> int:
    """Return a parameter that is a whole number, 0 where it is absent."""
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value < 2**63:
        raise MalformedRequest.at(f"{place}.{key}", expected="a whole number, 0 or more", found=show(value))
    return value


def id_of(fields: Json, limits: Limits) -> str | None:
    """Return the request's own id, None if it has none; raise MalformedRequest."""
    value = fields.get("id")
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limits.id_characters:
        expected = f"a text of at most {limits.id_characters} characters"
        found = f"{len(value)} characters" if isinstance(value, str) else kind(value)
        raise MalformedRequest.at("id", expected=expected, found=found)
    return value
