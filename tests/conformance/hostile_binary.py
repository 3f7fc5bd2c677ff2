"""Raw tensors behind the JSON, or without any: headers, sizes and bytes that do not say the same."""

import json
import struct

from tests.conformance.cases import HEADER_LENGTH, Case, Json, body, infer, one

_THREE = struct.pack("<3f", 1.5, 2.5, 3.5)


def _head(size: object = 12, **changes: object) -> Json:
    """Return the JSON of an honest request whose three values follow it; `size` is what it says of them."""
    return body(inputs=[one(data=..., parameters={"binary_data_size": size}, **changes)])


def _case(
    name: str,
    status: int,
    head: Json | bytes,
    raw: bytes = _THREE,
    *,
    length: object = ...,
    model: str = "identity_fp32",
    code: str | None = None,
    field: str | None = None,
) -> Case:
    """Return a request with `raw` behind its JSON and a header that says how long that is, or something else."""
    data = head if isinstance(head, bytes) else json.dumps(head).encode()
    told = str(len(data) if length is ... else length)
    return Case(name, infer(model), data + raw, status, code, field, {HEADER_LENGTH: told})


def _header(name: str, length: object, raw: bytes = _THREE) -> Case:
    return _case(name, 400, _head(), raw, length=length, code="malformed_request", field=HEADER_LENGTH.lower())


_HONEST = len(json.dumps(_head()))

HEADERS: tuple[Case, ...] = (
    _case("honest", 200, _head()),
    *(
        _header(f"header {name}", length)
        for name, length in {
            "empty": "",
            "a word": "abc",
            "negative": -1,
            "with a sign": f"+{_HONEST}",
            "a fraction": f"{_HONEST}.0",
            "hexadecimal": "0x10",
            "with a unit": f"{_HONEST}B",
            "a list": f"{_HONEST}, {_HONEST}",
            "with an underscore": "1_0",
            "in other digits": "\u00b2",
            "of 19 digits": "1" * 19,
            "of 5,000 digits": "9" * 5000,
            "larger than the body": _HONEST + len(_THREE) + 1,
            "NaN": "NaN",
        }.items()
    ),
    _case("header one too small", 400, _head(), length=_HONEST - 1, code="malformed_request", field="body"),
    _case("header one too large", 400, _head(), length=_HONEST + 1, code="malformed_request", field="body"),
    _case("header the whole body", 400, _head(), length=_HONEST + 12, code="malformed_request", field="body"),
    _case("header 1", 400, _head(), length=1, code="malformed_request", field="body"),
    _case("JSON with a header and nothing behind", 200, body(), b""),
    _case("JSON with something behind", 400, body(), b"\0", code="malformed_request", field="body"),
)

SIZES: tuple[Case, ...] = (
    *(
        _case(f"size {name}", 400, _head(size), code="malformed_request", field="x.binary_data_size")
        for name, size in {
            "true": True,
            "a fraction": 12.0,
            "a text": "12",
            "negative": -12,
            "−2⁶³": -(2**63),
            "2⁶³": 2**63,
            "2⁶⁴": 2**64,
            "one more than there is": 13,
            "a terabyte": 10**12,
        }.items()
    ),
    _case("size null", 400, _head(None), code="malformed_request"),
    _case("size a list", 400, _head([12]), code="malformed_request"),
    _case("size one less than there is", 400, _head(11), code="invalid_input", field="x.binary_data_size"),
    _case("size one less, and so many bytes", 400, _head(11), _THREE[:11], code="invalid_input", field="x.binary_data_size"),
    _case("size 0", 400, _head(0), b"", code="invalid_input", field="x.binary_data_size"),
    _case("a byte missing", 400, _head(), _THREE[:11], code="malformed_request", field="x.binary_data_size"),
    _case("all bytes missing", 400, _head(), b"", code="malformed_request", field="x.binary_data_size"),
    _case("a byte too many", 400, _head(), _THREE + b"\0", code="malformed_request", field="body"),
    _case("a value too many", 400, _head(16), _THREE + b"\0" * 4, code="invalid_input", field="x.binary_data_size"),
    _case("a shape of a gigabyte", 400, _head(shape=[1, 2**28]), code="invalid_input", field="x"),
    _case("a shape of all memory", 400, _head(shape=[1, 2**61]), code="invalid_input", field="x"),
    _case("a shape beyond memory", 400, _head(shape=[8, 2**63]), code="invalid_input", field="x"),
    _case("nothing, and said so", 200, _head(0, shape=[1, 0]), b""),
    _case("both data and raw bytes", 400, body(inputs=[one(parameters={"binary_data_size": 12})]),
          code="malformed_request", field="x.data"),
    Case("raw bytes without a header", infer("identity_fp32"), json.dumps(_head()).encode() + _THREE, 400,
         "malformed_request", "body"),
    Case("raw bytes told of and no header", infer("identity_fp32"), json.dumps(_head()).encode(), 400,
         "malformed_request", "x.binary_data_size"),
)  # fmt: skip


def _two(first: int, second: int) -> Json:
    """Return the JSON of a request for `pair` that says of its 12 and 24 bytes what it is told to."""
    a = {"name": "a", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": first}}
    b = {"name": "b", "shape": [1, 3], "datatype": "INT64", "parameters": {"binary_data_size": second}}
    return {"inputs": [a, b]}


_PAIR = _THREE + struct.pack("<3q", 10, 20, 30)

LIES: tuple[Case, ...] = (
    _case("two tensors, honest", 200, _two(12, 24), _PAIR, model="pair"),
    _case("the first takes from the second", 400, _two(16, 20), _PAIR, model="pair", code="invalid_input", field="a"),
    _case("the second takes from the first", 400, _two(8, 28), _PAIR, model="pair", code="invalid_input", field="a"),
    _case("sizes exchanged", 400, _two(24, 12), _PAIR, model="pair", code="invalid_input", field="a"),
    _case("the first takes all", 400, _two(36, 0), _PAIR, model="pair", code="invalid_input", field="a"),
    _case("together more than there is", 400, _two(12, 25), _PAIR, model="pair", code="malformed_request", field="b"),
)


def _truths(raw: bytes) -> Json:
    return body(inputs=[one(datatype="BOOL", shape=[1, len(raw)], data=..., parameters={"binary_data_size": len(raw)})])


def _texts(raw: bytes, count: int = 1) -> Json:
    return body(inputs=[one(datatype="BYTES", shape=[1, count], data=..., parameters={"binary_data_size": len(raw)})])


def _text(name: str, raw: bytes, status: int = 400, *, count: int = 1, code: str | None = "invalid_input") -> Case:
    field = None if status == 200 else "x.data"
    return _case(name, status, _texts(raw, count), raw, model="identity_bytes", code=code, field=field)


def _element(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<I", len(text) if length is None else length) + text


BYTES: tuple[Case, ...] = (
    _case("BOOL 0 and 1", 200, _truths(b"\0\1"), b"\0\1", model="identity_bool"),
    _case("BOOL 2", 400, _truths(b"\0\2"), b"\0\2", model="identity_bool", code="invalid_input", field="x.data"),
    _case("BOOL 255", 400, _truths(b"\xff\1"), b"\xff\1", model="identity_bool", code="invalid_input", field="x.data"),
    _text("BYTES honest", _element(b"one") + _element("ü€😀\0".encode()), 200, count=2, code=None),
    _text("BYTES empty elements", _element(b"") * 3, 200, count=3, code=None),
    _text("a length that lies", _element(b"one", 4)),
    _text("a length of 4 GiB", _element(b"one", 2**32 - 1)),
    _text("a length too small", _element(b"one", 2), code="malformed_request"),
    _text("half a length", b"\3\0"),
    _text("a length and nothing", _element(b"", 1)),
    _text("no elements where one is told of", b""),
    _text("an element too few", _element(b"one"), count=2),
    _text("an element too many", _element(b"one") * 2, code="malformed_request"),
    _text("a billion elements", _element(b"one"), count=10**9),
    _text("2⁶³ elements", _element(b"one"), count=2**63),
    _text("the second element lies", _element(b"one") + _element(b"two", 2**31), count=2),
    *(
        _text(f"BYTES not UTF-8: {name}", _element(b"a" + text))
        for name, text in {
            "a lone byte": b"\xff",
            "cut off": b"\xe2\x82",
            "overlong": b"\xc0\xaf",
            "a surrogate": b"\xed\xa0\x80",
            "beyond Unicode": b"\xf4\x90\x80\x80",
            "latin-1": "é".encode("latin-1"),
        }.items()
    ),
)


def _raw(name: str, model: str, raw: bytes, status: int = 400, code: str | None = None, field: str | None = None) -> Case:
    return Case(name, infer(model), raw, status, code, field, {HEADER_LENGTH: "0"})


RAW: tuple[Case, ...] = (
    _raw("one raw tensor", "identity_fp32", _THREE, 200),
    _raw("one raw tensor of nothing", "identity_fp32", b"", 200),
    _raw("raw, not whole values", "identity_fp32", _THREE[:11], code="invalid_input"),
    _raw("raw BOOL 2", "identity_bool", b"\1\2", code="invalid_input"),
    _raw("raw of a fixed shape", "toy", bytes(16), 200),
    _raw("raw of a fixed shape, a byte too few", "toy", bytes(15), code="invalid_input"),
    _raw("raw of a fixed shape, a byte too many", "toy", bytes(17), code="invalid_input"),
    _raw("raw of a fixed shape, two rows", "toy", bytes(32), code="invalid_input"),
    _raw("raw of a fixed shape, nothing", "toy", b"", code="invalid_input"),
    _raw("raw text", "identity_bytes", "ü".encode(), 200),
    _raw("raw text that is none", "identity_bytes", b"\xff", code="invalid_input"),
    _raw("raw for two inputs", "pair", _PAIR, code="malformed_request", field=HEADER_LENGTH.lower()),
    _raw("raw with several free axes", "grid", _THREE, code="malformed_request", field=HEADER_LENGTH.lower()),
    _raw("JSON under a header of 0", "toy", json.dumps(body()).encode(), code="invalid_input"),
)

#: A datatype that JSON cannot carry comes in well, and cannot go out.
HALVES: tuple[Case, ...] = tuple(
    _case(
        f"{datatype} out in JSON",
        400,
        body(inputs=[one(datatype=datatype, shape=[1, 1], data=..., parameters={"binary_data_size": 2})]),
        b"\0\0",
        model=f"identity_{datatype.lower()}",
        code="unsupported",
    )
    for datatype in ("FP16", "BF16")
)

CASES: tuple[Case, ...] = (*HEADERS, *SIZES, *LIES, *BYTES, *RAW, *HALVES)
