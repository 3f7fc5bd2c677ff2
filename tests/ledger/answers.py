"""Answers as the client reads them: bytes from a socket → one of OK and ERR, by a decoder of our own.

The client judges nothing. It only finds where an answer ends and writes down what it says.
"""

import json
import math
import re
import struct
from dataclasses import dataclass

from tests.ledger import tracer

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_HEAD_LENGTH = re.compile(rb"\r\ninference-header-content-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})[ \r]")
_UNSAFE = re.compile(r"[^!-~]+")


class NotHttp(Exception):
    """What came from the server is no answer whose end can be found."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, the head with all headers, its body."""

    status: int
    head: bytes
    body: bytes


def take(buffer: bytearray) -> Answer | None:
    """Remove the first whole answer from what has arrived; None if there is none yet. Raise NotHttp."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[: end + 2])
    status, length = _STATUS.match(head), _LENGTH.search(head)
    if status is None or length is None:
        raise NotHttp("no status, or no Content-Length")
    stop = end + 4 + int(length[1])
    if len(buffer) < stop:
        return None
    body = bytes(buffer[end + 4 : stop])
    del buffer[:stop]
    return Answer(int(status[1]), head, body)


def ok_facts(answer: Answer) -> tuple[str | None, str | None, str | None]:
    """Return version, id and the rows as hexadecimal float32 of a 200; None each where there is none to be found."""
    length = _HEAD_LENGTH.search(answer.head)
    stop = len(answer.body) if length is None else int(length[1])
    try:
        fields = json.loads(answer.body[:stop])
        (output,) = fields["outputs"]
        rows, width = output["shape"]
        data = answer.body[stop:] if "data" not in output else _packed(output["data"])
        fits = output["name"] == tracer.OUTPUT and output["datatype"] == "FP32" and width == tracer.LANES
        if not fits or len(data) != 4 * rows * width:
            return None, None, None
        id = fields.get("id")
        return _word(fields["model_version"]), None if id is None else _word(id), data.hex()
    except (ValueError, KeyError, TypeError, struct.error):
        return None, None, None


def err_facts(answer: Answer) -> tuple[int, str | None, str | None]:
    """Return status, reason and Retry-After of any other status; the reason is None unless the body has an "error"."""
    retry = _RETRY_AFTER.search(answer.head)
    reason = None
    try:
        fields = json.loads(answer.body)
        if isinstance(fields["error"], str):
            reason = _word(fields.get("code", "unnamed"))
    except (ValueError, KeyError, TypeError):
        pass
    return answer.status, reason, None if retry is None else retry[1].decode()


def _packed(values: list[float | None]) -> bytes:
    """Return JSON's numbers as float32; a NaN cannot be written in JSON, and null stands for it."""
    return struct.pack(f"<{len(values)}f", *(math.nan if value is None else value for value in values))


def _word(value: object) -> str:
    """Return a stranger's value as one word that fits into a line of the ledger."""
    return _UNSAFE.sub("?", str(value))[:200] or "?"
