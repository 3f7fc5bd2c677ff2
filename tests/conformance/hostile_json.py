"""Bodies that are no JSON, JSON that is no request, and requests whose fields are of the wrong kind."""

from tests.conformance.cases import Case, Json, accepted, body, dump, invalid, malformed, one, unsupported
from tests.conformance.zoo import DEEP, MANY

#: One value of every kind that JSON has.
KINDS: dict[str, object] = {
    "null": None,
    "true": True,
    "number": 7,
    "fraction": 1.5,
    "text": "text",
    "list": [1],
    "object": {"a": 1},
}


def _others(*right: str) -> dict[str, object]:
    """Return a value of every kind but the right ones."""
    return {kind: value for kind, value in KINDS.items() if kind not in right}


_SYNTAX = {
    "empty": b"",
    "blank": b" \r\n\t",
    "cut off": b'{"inputs": [',
    "two values": dump(body()) + dump(body()),
    "byte order mark": b"\xef\xbb\xbf" + dump(body()),
    "utf-16": dump(body()).decode().encode("utf-16"),
    "not utf-8": b'{"id": "\xff", "inputs": []}',
    "lone surrogate": b'{"id": "\\ud800", "inputs": []}',
    "overlong utf-8": b'{"id": "\xc0\xaf"}',
    "control character": b'{"id": "\x00"}',
    "trailing comma": b'{"inputs": [],}',
    "comment": b'{"inputs": [] /* here */}',
    "single quotes": b"{'inputs': []}",
    "NaN": dump(body(inputs=[one(data=[float("nan"), 1, 2])])),
    "Infinity": dump(body(inputs=[one(data=[float("inf"), 1, 2])])),
    "-Infinity": dump(body(inputs=[one(data=[float("-inf"), 1, 2])])),
    "1e999": b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1e999]}]}',
    "leading zero": b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [01]}]}',
    "plus sign": b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [+1]}]}',
    "hexadecimal": b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0x1]}]}',
    "a form": b"a=1&b=2",
    "binary": bytes(range(256)),
    "10,000 brackets": b"[" * 10_000,
    "100,000 objects": b'{"a":' * 100_000,
}


def _nested(levels: int) -> Json:
    """Return an honest body that is nested so many levels deep, in a key that nobody knows."""
    value: object = 0
    for _ in range(levels - 1):
        value = [value]
    return body(extra=value)


def _many(inputs: int, outputs: int | None = None) -> Json:
    """Return a request for the model `many` with so many inputs and outputs."""
    fields: Json = {
        "inputs": [{"name": f"x{n}", "shape": [1], "datatype": "INT32", "data": [n]} for n in range(inputs)],
    }
    if outputs is not None:
        fields["outputs"] = [{"name": f"y{n}"} for n in range(outputs)]
    return fields


def _deep(axes: int) -> Json:
    return body(inputs=[one(shape=[1] * axes, data=[1.5])])


LIMITS: tuple[Case, ...] = (
    accepted("64 levels deep", _nested(64)),
    malformed("65 levels deep", _nested(65), "body"),
    malformed("900 levels deep", _nested(900), "body"),
    accepted("as many brackets as there may be", body(extra=[[]] * 999_994)),
    malformed("a bracket more", body(extra=[[]] * 999_995), "body"),
    malformed("two million brackets", b'{"inputs": [' + b"[]," * 2_000_000 + b"[]]}", "body"),
    accepted("64 inputs", _many(MANY), model="many"),
    malformed("65 inputs", _many(MANY + 1), "inputs", model="many"),
    accepted("64 outputs", _many(MANY, MANY), model="many"),
    malformed("65 outputs", _many(MANY, MANY + 1), "outputs", model="many"),
    malformed("100,000 inputs", {"inputs": [one()] * 100_000}, "inputs"),
    accepted("16 axes", _deep(DEEP), model="deep"),
    malformed("17 axes", _deep(DEEP + 1), "x.shape", model="deep"),
    malformed("100,000 axes", body(inputs=[one(shape=[1] * 100_000)]), "x.shape"),
    accepted("id of 256 characters", body(id="ü" * 256)),
    malformed("id of 257 characters", body(id="ü" * 257), "id"),
    malformed("id of a million characters", body(id="i" * 1_000_000), "id"),
    accepted("an empty id", body(id="")),
    accepted("an id with every troublesome character", body(id='"\\\r\n\t\x00<é\u2028😀')),
    malformed("a name of a million characters", body(inputs=[one(name=["x" * 1_000_000])]), "inputs[0].name"),
    invalid("an input's name of a million characters", body(inputs=[one(name="x" * 1_000_000)]), "inputs[0].name"),
    invalid("an output's name of a million characters", body(outputs=[{"name": "y" * 1_000_000}]), "outputs[0].name"),
    malformed("a datatype of a million characters", body(inputs=[one(datatype="F" * 1_000_000)]), "x.datatype"),
    malformed("a parameter's name of a million characters", body(parameters={"p" * 1_000_000: None}), "parameters"),
)

KINDS_OF_FIELDS: tuple[Case, ...] = (
    *(malformed(f"body {kind}", dump(value), "body") for kind, value in _others("object").items()),
    malformed("inputs missing", body(inputs=...), "inputs"),
    *(malformed(f"inputs {kind}", body(inputs=value), "inputs") for kind, value in _others("list").items()),
    *(malformed(f"inputs[0] {kind}", body(inputs=[value]), "inputs") for kind, value in _others("object").items()),
    malformed("name missing", body(inputs=[one(name=...)]), "inputs[0].name"),
    *(
        malformed(f"name {kind}", body(inputs=[one(name=value)]), "inputs[0].name")
        for kind, value in _others("text").items()
    ),
    malformed("datatype missing", body(inputs=[one(datatype=...)]), "x.datatype"),
    *(malformed(f"datatype {kind}", body(inputs=[one(datatype=value)]), "x.datatype") for kind, value in KINDS.items()),
    malformed("datatype in small letters", body(inputs=[one(datatype="fp32")]), "x.datatype"),
    malformed("datatype with a blank", body(inputs=[one(datatype="FP32 ")]), "x.datatype"),
    malformed("numpy's name of a datatype", body(inputs=[one(datatype="float32")]), "x.datatype"),
    invalid("another datatype", body(inputs=[one(datatype="FP64")]), "x.datatype"),
    malformed("shape missing", body(inputs=[one(shape=...)]), "x.shape"),
    *(malformed(f"shape {kind}", body(inputs=[one(shape=value)]), "x.shape") for kind, value in _others("list").items()),
    *(
        malformed(f"length {kind}", body(inputs=[one(shape=[1, value])]), "x.shape")
        for kind, value in _others("number").items()
    ),
    *(malformed(f"id {kind}", body(id=value), "id") for kind, value in _others("text", "null").items()),
    *(
        malformed(f"parameters {kind}", body(parameters=value), "parameters")
        for kind, value in _others("object", "null").items()
    ),
    *(
        malformed(f"a parameter {kind}", body(parameters={"mine": value}), "parameters.mine")
        for kind, value in KINDS.items()
        if kind in ("null", "list", "object")
    ),
    *(
        malformed(f"an input's parameters {kind}", body(inputs=[one(parameters=value)]), "x.parameters")
        for kind, value in _others("object", "null").items()
    ),
    *(malformed(f"outputs {kind}", body(outputs=value), "outputs") for kind, value in _others("list", "null").items()),
    *(malformed(f"outputs[0] {kind}", body(outputs=[value]), "outputs") for kind, value in _others("object").items()),
    *(
        malformed(f"an output's name {kind}", body(outputs=[{"name": value}]), "outputs[0].name")
        for kind, value in _others("text").items()
    ),
    *(
        malformed(
            f"an output's parameters {kind}", body(outputs=[{"name": "y", "parameters": value}]), "outputs[0].parameters"
        )
        for kind, value in _others("object", "null").items()
    ),
    # What is absent may be said to be so, as clients' libraries do.
    accepted("nulls for what is optional", body(id=None, parameters=None, outputs=None, inputs=[one(parameters=None)])),
    accepted("keys that nobody knows", body(model_name="other", inputs=[one(more={"a": [1]})], also=None)),
)

FIELDS: tuple[Case, ...] = (
    malformed("no inputs", body(inputs=[]), "inputs"),
    invalid("an input that the model lacks", body(inputs=[one(name="z")]), "inputs[0].name"),
    invalid("an input too many", body(inputs=[one(), one(name="z")]), "inputs[1].name"),
    invalid("an input too few", body(inputs=[{"name": "a", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]),
            "b", model="pair"),
    malformed("an input twice", body(inputs=[one(), one()]), "inputs[1].name"),
    invalid("an output that the model lacks", body(outputs=[{"name": "z"}]), "outputs[0].name"),
    malformed("an output twice", body(outputs=[{"name": "y"}, {"name": "y"}]), "outputs[1].name"),
    accepted("no output in particular", body(outputs=[])),
    malformed("neither data nor raw bytes", body(inputs=[one(data=...)]), "x.data"),
    malformed("both data and raw bytes", body(inputs=[one(parameters={"binary_data_size": 12})]), "x.data"),
    unsupported("shared memory for an input", body(inputs=[one(data=..., parameters={"shared_memory_region": "r"})])),
    unsupported("shared memory for an output", body(outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}])),
    unsupported("a sequence", body(parameters={"sequence_id": 1})),
    unsupported("a sequence with a name", body(parameters={"sequence_id": "one"})),
    malformed("a reserved parameter", body(parameters={"triton_mine": 1}), "parameters.triton_mine"),
    *(
        malformed(f"{key} {kind}", body(parameters={key: value}), f"parameters.{key}")
        for key in ("timeout", "priority")
        for kind, value in {"true": True, "fraction": 1.5, "text": "1", "negative": -1, "2⁶³": 2**63, "1e300": 1e300}.items()
    ),
    *(
        malformed(f"binary_data_output {kind}",
        body(parameters={"binary_data_output": value}), "parameters.binary_data_output")
        for kind, value in {"number": 1, "text": "true", "fraction": 0.5}.items()
    ),
    *(
        malformed(f"binary_data {kind}", body(outputs=[{"name": "y", "parameters": {"binary_data": value}}]), "outputs[0]")
        for kind, value in {"number": 1, "text": "true"}.items()
    ),
    *(
        malformed(f"classification {kind}",
        body(outputs=[{"name": "y", "parameters": {"classification": value}}]), "outputs[0]")
        for kind, value in {"true": True, "fraction": 1.5, "text": "1", "negative": -1, "1001": 1001, "2⁶³": 2**63}.items()
    ),
    accepted("more classes than there are", body(outputs=[{"name": "y", "parameters": {"classification": 1000}}])),
    accepted("timeout and priority of nothing", body(parameters={"timeout": 0, "priority": 0})),
    accepted("a parameter of one's own", body(parameters={"mine": "a", "and_this": 1.5, "flag": False})),
    invalid("a level that the model lacks", body(parameters={"priority": 3}), "priority", model="levels"),
    accepted("a level that it has", body(parameters={"priority": 2}), model="levels"),
)  # fmt: skip

SYNTAX: tuple[Case, ...] = tuple(malformed(f"body {name}", value, "body") for name, value in _SYNTAX.items())

CASES: tuple[Case, ...] = (*SYNTAX, *LIMITS, *KINDS_OF_FIELDS, *FIELDS)
