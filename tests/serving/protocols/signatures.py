"""A signature that a request's own tensors fit, whatever they are: what is judged then is the request by itself."""

import json
from typing import Any

from models.tensors import DTYPES, Signature, TensorSpec


def signature_for(body: bytes) -> Signature:
    """Return a signature without a batch axis, of the names, datatypes and ranks a body names; FP32 [·] where it is none."""
    try:
        fields = json.loads(body if len(body) < 5_000_000 else b"")  # larger ones are made to be slow to read
        inputs = {field["name"]: _spec(field) for field in fields["inputs"] if isinstance(field.get("name"), str)}
        outputs = [field["name"] for field in fields.get("outputs") or []]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        inputs, outputs = {}, []
    inputs = {name: spec for name, spec in inputs.items() if 0 < len(name) <= 256} or {"x": TensorSpec("x", "FP32", (None,))}
    names = [name for name in dict.fromkeys(outputs) if isinstance(name, str) and len(name) <= 256] or ["y"]
    return Signature(tuple(inputs.values()), tuple(TensorSpec(name, "FP32", (None,)) for name in names), max_batch_size=0)


def _spec(field: dict[str, Any]) -> TensorSpec:  # Any: whatever a client may send
    datatype = field.get("datatype")
    shape = field.get("shape")
    known = datatype if isinstance(datatype, str) and datatype in DTYPES else "FP32"
    return TensorSpec(field["name"], known, (None,) * (len(shape) if isinstance(shape, list) else 1))
