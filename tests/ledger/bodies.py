"""Requests as the bytes that are sent, by an encoder of our own: a fault of the server's encoder cannot hide here.

JSON by the standard library, tensors by `struct`; the server uses orjson and numpy.
"""

import hashlib
import json
import math
import struct

from tests.ledger import tracer
from tests.ledger.plan import Kind, Request

#: Datatypes that the tracer does not take, each with how `struct` packs it.
_OTHER_DATATYPES = {"INT32": "i", "INT64": "q", "FP64": "d", "UINT8": "B", "INT8": "b", "UINT32": "I"}
_OTHER_WIDTHS = (tracer.LANES - 1, tracer.LANES + 1, 2 * tracer.LANES)


def message(request: Request, *, seed: int, host: str, path: str) -> bytes:
    """Return the whole HTTP request."""
    head, raw = body(request, seed)
    binary = f"inference-header-content-length: {len(head)}\r\n" if raw else ""
    start = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(head) + len(raw)}\r\n{binary}\r\n"
    return b"".join((start.encode(), head, raw))


def digest(message: bytes) -> str:
    """Return what stands for a message in the ledger."""
    return hashlib.sha256(message).hexdigest()[:16]


def body(request: Request, seed: int) -> tuple[bytes, bytes]:
    """Return a request's JSON, and the raw tensor behind it, empty where the values are in the JSON."""
    datatype, width, values = _values(request, seed)
    described: dict[str, object] = {"name": tracer.INPUT, "shape": [request.rows, width], "datatype": datatype}
    raw = b""
    if request.binary:
        raw = struct.pack(f"<{len(values)}{_OTHER_DATATYPES.get(datatype, 'f')}", *values)
        described["parameters"] = {"binary_data_size": len(raw)}
    else:
        described["data"] = _listed(request, width, values)
    fields: dict[str, object] = {"inputs": [described]}
    if request.id is not None:
        fields["id"] = request.id
    if request.binary_answer:
        fields["parameters"] = {"binary_data_output": True}
    # A bare NaN, which is no JSON, is just what the standard library writes.
    return json.dumps(fields, separators=(",", ":")).encode(), raw


def _values(request: Request, seed: int) -> tuple[str, int, list[float]]:
    """Return datatype, row length and values as this request has them, right or wrong."""
    rows = [list(tracer.lanes(seed, request.number, row)) for row in range(request.sent_rows)]
    kind = request.kind
    if kind is Kind.DATATYPE:
        datatype = list(_OTHER_DATATYPES)[request.draw % len(_OTHER_DATATYPES)]
        numbers = [abs(round(value * 100)) % 100 for row in rows for value in row]
        return datatype, tracer.LANES, [float(number) for number in numbers] if datatype == "FP64" else list(numbers)
    width = tracer.LANES
    if kind is Kind.WIDE:
        width = _OTHER_WIDTHS[request.draw % len(_OTHER_WIDTHS)]
        rows = [(row + row)[:width] for row in rows]
    if kind is Kind.NAN:
        rows[nan_row(request.rows, request.number)][-1] = math.nan
    values = [value for row in rows for value in row]
    if kind is Kind.SHORT:
        values.pop()
    if kind is Kind.LONG:
        values.append(values[0])
    return "FP32", width, values


def nan_row(rows: int, number: int) -> int:
    """Return which row of a request holds its NaN."""
    return number % rows


def _listed(request: Request, width: int, values: list[float]) -> list[object]:
    """Return values as JSON's lists: flat, or nested by rows."""
    listed: list[object] = list(values)
    if request.kind is Kind.TEXT:
        listed[len(listed) // 2] = "seven"
    if request.kind is Kind.RAGGED:
        return [listed[:width], *([listed[width:-1]] if request.rows > 1 else [listed[: width - 1]])]
    if request.draw % 2 and request.kind not in (Kind.SHORT, Kind.LONG):
        return [listed[start : start + width] for start in range(0, len(listed), width)]
    return listed
