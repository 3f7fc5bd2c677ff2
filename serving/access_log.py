"""The access log: one line per request, as key=value or as JSON, on standard output.

What went wrong is always written; of what went well, the share asked for, and no probe (`PROBES`). A request is chosen by
its id, so the servers that it passes on its way all write it, or none does. A line is made where the request ends: a
second thread that makes them would compete with the event loop for the interpreter. Only writing is left to a thread.
"""

import json
import re
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import orjson

from serving.line_writer import LineWriter
from serving.protocols.ending import PROBES, Ended

Fields = dict[str, str | int | float]

#: Characters of a text that are shown. Our own paths have 50 and two names; a method 7, an IPv6 address 45.
_PATH, _METHOD, _ADDRESS, _CLIENT = 256, 16, 64, 64

#: What json.dumps makes of a text, up to the last whole escape of it.
_ESCAPED = re.compile(r"(?:\\u[0-9a-f]{4}|\\[^u]|[^\\])*")

#: https://www.w3.org/TR/trace-context/#traceparent-header-field-values; a trace id of zeros is none.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII)


class AccessLog:
    """Writes the requests that have ended."""

    def __init__(self, format: Literal["text", "json"], *, sample: float, writer: LineWriter) -> None:
        self._write = as_json if format == "json" else as_text
        self._sample = sample
        self._writer = writer

    def finished(self, ended: Ended) -> None:
        """Write a request's line, if it is one to be written."""
        if wanted(ended, self._sample):
            self._writer.put(self._write(fields(ended, now=time.time())))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


def wanted(ended: Ended, sample: float) -> bool:
    """Tell whether a request is written: every one that went wrong, and a share of those that went well."""
    if ended.status >= 400:
        return True
    if ended.route in PROBES:
        return False
    return sample >= 1.0 or zlib.crc32(ended.request_id.encode()) < sample * 2**32


def fields(ended: Ended, *, now: float) -> Fields:
    """Return what is written of a request, in its order; what is not known is left out. `now` is seconds since 1970."""
    response = ended.response
    found: dict[str, str | int | float | None] = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": ended.request_id,
        "trace_id": ended.trace_id or _trace_id(ended.headers),
        "address": None if ended.address is None else _plain(ended.address, _ADDRESS),
        "client": None if ended.client is None else _plain(ended.client, _CLIENT),
        "method": _plain(ended.method, _METHOD),
        "path": _plain(ended.path, _PATH),
        "status": ended.status,
        "outcome": ended.outcome,
        "reason": ended.reason,
        "bytes_in": ended.bytes_in,
        "bytes_out": ended.bytes_out,
        "model": ended.model,
        "version": ended.version,
        "duration_ms": _ms(ended.ended - ended.received),
    }
    if response is not None:
        timings = response.timings
        found |= {
            "rows": response.rows,
            "decode_ms": _ms(timings.queued - ended.received),
            "queue_ms": _ms(timings.queue),
            "batch_ms": _ms(timings.join + timings.split),
            "compute_ms": _ms(timings.run),
            "encode_ms": _ms(ended.ended - ended.encoding),
        }
    return {name: value for name, value in found.items() if value is not None and value != ""}


def as_json(fields: Fields) -> bytes:
    """Return the fields as one line of JSON."""
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def as_text(fields: Fields) -> bytes:
    """Return the fields as key=value, in quotes where a value holds a space, a quote or an equals sign."""
    shown = [f"{name}={_quoted(value) if isinstance(value, str) else value}" for name, value in fields.items()]
    return (" ".join(shown) + "\n").encode()


def _quoted(text: str) -> str:
    if " " not in text and '"' not in text and "=" not in text and "\\" not in text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(text: str, most: int) -> str:
    """Return a client's text, cut, with everything but printable ASCII as \\uXXXX: no line or colour of its making."""
    if not (text.isascii() and text.isprintable()):
        text = json.dumps(text[:most])[1:-1].replace("\x7f", "\\u007f")
        whole = _ESCAPED.match(text[:most])
        return "" if whole is None else whole[0]
    return text[:most]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _trace_id(headers: Mapping[str, str]) -> str:
    """Return the trace id that a client sent, empty where it sent none."""
    given = headers.get("traceparent")
    found = None if given is None else _TRACEPARENT.fullmatch(given)
    return "" if found is None else found[1]
