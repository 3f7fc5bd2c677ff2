"""Shapes that no data fits, and data that no shape, no datatype and no number fits."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from models.tensors import DTYPES
from tests.conformance.cases import Case, Json, accepted, body, invalid, malformed, one, unsupported

_WHOLE = [name for name, dtype in DTYPES.items() if dtype.kind in "iu" and name != "BF16"]


def _ask(datatype: str, data: object, shape: object = ...) -> Json:
    """Return a request for the identity of a datatype: one row, as long as the data unless the shape says otherwise."""
    length = len(data) if isinstance(data, list) else 1
    return body(inputs=[one(datatype=datatype, shape=[1, length] if shape is ... else shape, data=data)])


def _model(datatype: str) -> str:
    return f"identity_{datatype.lower()}"


def _whole_numbers() -> Iterator[Case]:
    for name in _WHOLE:
        least, most = int(np.iinfo(DTYPES[name]).min), int(np.iinfo(DTYPES[name]).max)
        yield accepted(f"{name} at both ends", _ask(name, [least, most]), model=_model(name))
        beyond = {"below": least - 1, "above": most + 1, "a huge number": 10**30, "minus a huge number": -(10**30)}
        others: dict[str, object] = {
            "true": True,
            "a fraction": 1.5,
            "1.0": 1.0,
            "1e300": 1e300,
            "null": None,
            "a text": "1",
        }
        for word, value in {**beyond, **others}.items():
            yield invalid(f"{name} {word}", _ask(name, [1, value]), "x.data", model=_model(name))


def _numbers() -> Iterator[Case]:
    for name, beyond in {"FP32": 3.5e38, "FP64": None}.items():
        yield accepted(f"{name} whole", _ask(name, [1, -0.0, 5e-324, 2**53]), model=_model(name))
        others: dict[str, object] = {"true": True, "null": None, "a text": "1", "the text NaN": "NaN", "an object": {}}
        if beyond is not None:
            others |= {"above": beyond, "below": -beyond, "1e300": 1e300}
        for word, value in others.items():
            yield invalid(f"{name} {word}", _ask(name, [1, value]), "x.data", model=_model(name))


def _words() -> Iterator[Case]:
    words: dict[str, Any] = {"0": 0, "1": 1, "1.0": 1.0, "null": None, "a text": "true", "a list": [True]}
    for word, value in words.items():
        yield invalid(f"BOOL {word}", _ask("BOOL", [True, value]), "x.data", model="identity_bool")
    words = {"a number": 1, "true": True, "null": None, "a list": ["a"], "an object": {"b64": "YQ=="}}
    for word, value in words.items():
        yield invalid(f"BYTES {word}", _ask("BYTES", ["a", value]), "x.data", model="identity_bytes")
    for name in ("FP16", "BF16"):
        yield unsupported(f"{name} in JSON", _ask(name, [1.5]), model=_model(name))
        yield unsupported(f"{name} out in JSON", _ask(name, []), model=_model(name))


_STATE = {"name": "state", "datatype": "FP32", "shape": [2, 1, 4], "data": [0.5] * 8}
_GAIN = {"name": "gain", "datatype": "FP32", "shape": [], "data": [2]}

SHAPES: tuple[Case, ...] = (
    malformed("a negative length", _ask("FP32", [1], [1, -1]), "x.shape"),
    malformed("a negative number of rows", _ask("FP32", [1], [-1, 1]), "x.shape"),
    malformed("a length of −2⁶³", _ask("FP32", [1], [1, -(2**63)]), "x.shape"),
    malformed("a length beyond 2⁶⁴", _ask("FP32", [1], [1, 2**64]), "x.shape"),
    invalid("a length of 2⁶³", _ask("FP32", [1], [1, 2**63]), "x"),
    invalid("a length of 2⁶⁴ − 1", _ask("FP32", [1], [1, 2**64 - 1]), "x"),
    invalid("a billion values in one", _ask("FP32", [1], [1, 10**9]), "x.data"),
    invalid("a billion rows", _ask("FP32", [1], [10**9, 1]), "x.shape"),
    invalid("no rows", _ask("FP32", [], [0, 1]), "x.shape"),
    invalid("a row more than a batch has", _ask("FP32", [1] * 9, [9, 1]), "x.shape"),
    accepted("as many rows as a batch has", _ask("FP32", [1] * 8, [8, 1])),
    accepted("rows of nothing", _ask("FP32", [], [2, 0])),
    invalid("an axis too few", _ask("FP32", [1], [1]), "x.shape"),
    invalid("an axis too many", _ask("FP32", [1], [1, 1, 1]), "x.shape"),
    invalid("no axis", _ask("FP32", [1], []), "x.shape"),
    invalid("a product that is 0 in 64 bits", _ask("FP32", [], [2**32, 2**32]), "x", model="grid"),
    invalid("a product that is 1 in 64 bits", _ask("FP32", [1], [2**63 + 1, 2**63 + 1]), "x", model="grid"),
    invalid("a length no array has, of nothing", _ask("FP32", [], [0, 2**62]), "x.shape", model="grid"),
    invalid("a length no index has, of nothing", _ask("FP32", [], [0, 2**64 - 1]), "x.shape", model="grid"),
    accepted("nothing at all", _ask("FP32", [], [0, 0]), model="grid"),
    accepted("nothing but a length", _ask("FP32", [], [0, 7]), model="grid"),
    invalid("the second input of other rows", body(inputs=[
        {"name": "a", "shape": [2, 3], "datatype": "FP32", "data": [0.5] * 6},
        {"name": "b", "shape": [1, 3], "datatype": "INT64", "data": [1] * 3},
    ]), "b", model="pair"),
    invalid("a fixed axis of another length", body(inputs=[{**_STATE, "shape": [3, 1, 4], "data": [0.5] * 12}, _GAIN]),
            "state.shape", model="state"),
    invalid("a scalar with an axis", body(inputs=[_STATE, {**_GAIN, "shape": [1]}]), "gain.shape", model="state"),
    invalid("a scalar of two values", body(inputs=[_STATE, {**_GAIN, "data": [1, 2]}]), "gain.data", model="state"),
    malformed("a scalar that is no list", body(inputs=[_STATE, {**_GAIN, "data": 2}]), "gain.data", model="state"),
    accepted("a state of no rows", body(inputs=[{**_STATE, "shape": [2, 0, 4], "data": []}, _GAIN]), model="state"),
)  # fmt: skip

DATA: tuple[Case, ...] = (
    *(
        malformed(f"data {word}", body(inputs=[one(data=value)]), "x.data")
        for word, value in {"null": None, "a number": 7, "a text": "AAAA", "true": True, "an object": {"0": 1}}.items()
    ),
    invalid("a value too few", _ask("FP32", [1, 2], [1, 3]), "x.data"),
    invalid("a value too many", _ask("FP32", [1, 2, 3, 4], [1, 3]), "x.data"),
    invalid("no values", _ask("FP32", [], [1, 3]), "x.data"),
    invalid("nested too deep", _ask("FP32", [[[1, 2, 3]]], [1, 3]), "x.data"),
    invalid("nested not deep enough", _ask("FP32", [[1, 2, 3, 4]], [2, 2]), "x.data"),
    invalid("ragged, right in all", _ask("FP32", [[1, 2, 3], [4]], [2, 2]), "x.data"),
    invalid("ragged", _ask("FP32", [[1, 2], [3]], [2, 2]), "x.data"),
    invalid("transposed", _ask("FP32", [[1, 2], [3, 4], [5, 6]], [2, 3]), "x.data"),
    invalid("nested in part", _ask("FP32", [[1, 2], 3, 4], [2, 2]), "x.data"),
    invalid("nested in its second half", _ask("FP32", [1, 2, [3, 4]], [2, 2]), "x.data"),
    invalid("a list of empty lists", _ask("FP32", [[], []], [2, 2]), "x.data"),
    invalid("a list within a value", _ask("FP32", [[1, [2]], [3, 4]], [2, 2]), "x.data"),
    invalid("a million values for one", _ask("FP32", [0] * 1_000_000, [1, 1]), "x.data"),
    accepted("nested as the shape says", _ask("FP32", [[1, 2], [3, 4]], [2, 2])),
    accepted("nested, of nothing", _ask("FP32", [[], []], [2, 0])),
)

CASES: tuple[Case, ...] = (*SHAPES, *DATA, *_whole_numbers(), *_numbers(), *_words())
