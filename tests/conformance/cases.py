"""A hostile request, what it has to be answered with, and the honest request that most of them were once."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

# Any: JSON is what these tests break.
Json = dict[str, Any]

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One request and its answer: the status, and for an error its code and the field it has to name."""

    name: str
    path: str
    body: bytes
    status: int
    code: str | None = None
    field: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    method: str = "POST"

    def __str__(self) -> str:
        return self.name


def infer(model: str) -> str:
    """Return where a model is asked."""
    return f"/v2/models/{model}/infer"


def one(**changes: object) -> Json:
    """Return an honest input for `identity_fp32`, with some of its fields changed; `...` leaves a field out."""
    fields = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.5, 2.5, 3.5], **changes}
    return {key: value for key, value in fields.items() if value is not ...}


def body(**changes: object) -> Json:
    """Return an honest body for `identity_fp32`, with some of its fields changed; `...` leaves a field out."""
    fields = {"inputs": [one()], **changes}
    return {key: value for key, value in fields.items() if value is not ...}


def dump(value: object) -> bytes:
    """Return JSON; also where it is none, as NaN."""
    return json.dumps(value).encode()


def malformed(name: str, value: object, field: str | None = None, *, model: str = "identity_fp32") -> Case:
    """Return a case of bytes that are not the protocol."""
    return _refused(name, value, field, model, "malformed_request")


def invalid(name: str, value: object, field: str | None = None, *, model: str = "identity_fp32") -> Case:
    """Return a case of a tensor that does not fit the signature."""
    return _refused(name, value, field, model, "invalid_input")


def unsupported(name: str, value: object, *, model: str = "identity_fp32") -> Case:
    """Return a case of a feature that this server lacks."""
    return _refused(name, value, None, model, "unsupported")


def accepted(name: str, value: object, *, model: str = "identity_fp32") -> Case:
    """Return a case that looks hostile and is not."""
    return Case(name, infer(model), value if isinstance(value, bytes) else dump(value), 200)


def _refused(name: str, value: object, field: str | None, model: str, code: str) -> Case:
    return Case(name, infer(model), value if isinstance(value, bytes) else dump(value), 400, code, field)
