"""What front ends and the engine's process say to each other: requests, answers, errors, and what is served, as frames.

    front end → engine    INFER (a request) · CANCEL (nobody waits for it any more) · HEARD (an announcement is known here)
    engine → front end    ANSWER · ERROR · STATUS (of a model's versions) · SERVED (versions of a model) · SERVER · WHOLE

A frame's number is that of the request, or of the announcement. A deadline travels as the seconds that are left. Whatever
a head lacks is a fault of ours, and a WireError.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from models import fields
from models.content import Content
from models.tensors import Signature, SignatureError
from serving import wire
from serving.engine.base import ModelMetadata, ModelStatus, State
from serving.errors import ServingError, all_errors
from serving.model_config import ModelConfig, VersionPolicy
from serving.request import InferRequest, InferResponse, Timings
from serving.wire import Buffer, Head, WireError

#: The classes of error by the code that travels.
_ERRORS: dict[str, type[ServingError]] = {error.code: error for error in all_errors()}
#: Seconds that stand for a deadline infinitely far away, which JSON does not have.
_FOREVER = 1e15
#: What reading a head can raise where it is not what it should be.
_NOT_SO = (ValueError, TypeError, KeyError, LookupError, AttributeError, fields.FieldError, SignatureError)


class Kind(IntEnum):
    """What a frame is."""

    INFER = 1
    CANCEL = 2
    HEARD = 3
    ANSWER = 4
    ERROR = 5
    STATUS = 6
    SERVED = 7
    SERVER = 8
    WHOLE = 9


# On the path of every request, where a member of an enumeration costs a look-up and a conversion.
_INFER, _ANSWER, _ERROR = int(Kind.INFER), int(Kind.ANSWER), int(Kind.ERROR)


def signal(kind: Kind, number: int = 0) -> list[Buffer]:
    """Return the frame of something that is said without more words."""
    return wire.frame(kind, number, None)


def request_frame(number: int, request: InferRequest, now: float) -> list[Buffer]:
    """Return a request as a frame; raise WireError where it holds what cannot be sent. Its id stays here."""
    described, buffers = wire.describe(request.inputs)
    left = None if request.deadline is None else min(max(request.deadline - now, -_FOREVER), _FOREVER)
    head = [request.model, request.version, left, request.priority, request.outputs, described]
    return wire.frame(_INFER, number, head, buffers)


def request_of(head: Head, data: memoryview, now: float) -> InferRequest:
    """Return the request of a frame; raise WireError."""
    try:
        model, version, left, priority, outputs, described = head
        deadline = None if left is None else now + left
        inputs = wire.tensors_of(described, data)
        return InferRequest(model, version, inputs, None if outputs is None else tuple(outputs), None, deadline, priority)
    except (ValueError, TypeError) as error:
        raise WireError(f"a request: {error}") from error


def answer_frame(number: int, response: InferResponse) -> list[Buffer]:
    """Return an answer as a frame; raise WireError where it holds what cannot be sent."""
    described, buffers = wire.describe(response.outputs)
    took = response.timings
    timings = (took.queue, took.join, took.run, took.split, took.queued)
    head = [response.model, response.version, response.digest, response.rows, response.verified, timings, described]
    return wire.frame(_ANSWER, number, head, buffers)


def answer_of(head: Head, data: memoryview, id: str | None) -> InferResponse:
    """Return the answer of a frame, with the id of its request; raise WireError."""
    try:
        model, version, digest, rows, verified, timings, described = head
        outputs = wire.tensors_of(described, data)
        return InferResponse(model, version, digest, outputs, id, Timings(*timings), rows, verified)
    except (ValueError, TypeError) as error:
        raise WireError(f"an answer: {error}") from error


def error_frame(number: int, error: ServingError) -> list[Buffer]:
    """Return an error as a frame."""
    details = (error.field, error.expected, error.found, error.retry_after_seconds)
    return wire.frame(_ERROR, number, [error.code, str(error), *details])


def error_of(head: Head) -> ServingError:
    """Return the error of a frame, of the class it had; raise WireError."""
    try:
        code, text, field, expected, found, retry = head
        return _ERRORS[code](text, field=field, expected=expected, found=found, retry_after_seconds=retry)
    except (ValueError, TypeError, KeyError) as error:
        raise WireError(f"an error: {error}") from error


def status_frame(model: str, statuses: Sequence[ModelStatus]) -> list[Buffer]:
    """Return the states of a model's versions as a frame; none for a model that is not known any more."""
    # A reason may name a file, and a file's name need be no Unicode.
    reasons = (one.reason.encode("utf-8", "backslashreplace").decode() for one in statuses)
    rows = [[one.version, one.state.value, reason, one.verified] for one, reason in zip(statuses, reasons, strict=True)]
    return wire.frame(Kind.STATUS, 0, [model, rows])


def statuses_of(head: Head) -> tuple[str, dict[int | None, ModelStatus]]:
    """Return the model and its states of a frame; raise WireError."""
    try:
        model, rows = head
        return model, {row[0]: ModelStatus(model, row[0], State(row[1]), row[2], row[3]) for row in rows}
    except _NOT_SO as error:
        raise WireError(f"a status: {error}") from error


def served_frame(number: int, model: str, served: Mapping[int, tuple[ModelMetadata, ModelConfig]]) -> list[Buffer]:
    """Return the served versions of a model as a frame; an announcement that the front end confirms by its number."""
    described: list[wire.Described] = []
    buffers: list[Buffer] = []
    versions = []
    for metadata, config in served.values():
        example, more = wire.describe(metadata.example)
        described += example
        buffers += more
        versions.append([_metadata_json(metadata), dataclasses.asdict(config), len(example)])
    return wire.frame(Kind.SERVED, number, [model, versions, described], buffers)


def served_of(head: Head, data: memoryview) -> tuple[str, dict[int, tuple[ModelMetadata, ModelConfig]]]:
    """Return the model and its served versions of a frame; raise WireError."""
    try:
        model, versions, described = head
        # Versions share the names of their inputs: each tensor gets one of its own on the way.
        names = [row[0] for row in described]
        arrays = wire.tensors_of([[str(place), *row[1:]] for place, row in enumerate(described)], data)
        served: dict[int, tuple[ModelMetadata, ModelConfig]] = {}
        place = 0
        for metadata, config, count in versions:
            example = {names[index]: arrays[str(index)].copy() for index in range(place, place + count)}
            place += count
            found = _metadata_of(metadata, example)
            served[found.version] = found, config_of(config)
        return model, served
    except _NOT_SO as error:
        raise WireError(f"what is served: {error}") from error


def server_frame(*, loading: bool, alive: bool) -> list[Buffer]:
    """Return the state of the engine's process as a frame."""
    return wire.frame(Kind.SERVER, 0, [loading, alive])


def server_of(head: Head) -> tuple[bool, bool]:
    """Return whether the engine's process still loads, and whether it makes progress; raise WireError."""
    try:
        loading, alive = head
    except _NOT_SO as error:
        raise WireError(f"a server's state: {error}") from error
    return bool(loading), bool(alive)


def _metadata_json(metadata: ModelMetadata) -> dict[str, Any]:  # Any: JSON
    plain = {field.name: getattr(metadata, field.name) for field in dataclasses.fields(metadata) if field.name != "example"}
    content = None if metadata.content is None else metadata.content.to_json()
    return {**plain, "signature": metadata.signature.to_json(), "content": content}


def _metadata_of(json: dict[str, Any], example: dict[str, Any]) -> ModelMetadata:  # Any: JSON, and as Array's
    content = None if json["content"] is None else Content.from_json(json["content"])
    return ModelMetadata(
        **{
            **json,
            "versions": tuple(json["versions"]),
            "signature": Signature.from_json(json["signature"]),
            "content": content,
        },
        example=example,
    )


def config_of(json: dict[str, Any]) -> ModelConfig:  # Any: JSON
    """Return a configuration that has become JSON by `dataclasses.asdict`."""
    policy = json["versions"]
    specific = None if policy["specific"] is None else tuple(policy["specific"])
    # JSON has no tuples.
    told: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in json.items()}
    return ModelConfig(**{**told, "versions": VersionPolicy(policy["latest"], specific)})
