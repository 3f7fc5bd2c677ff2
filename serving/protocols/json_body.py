"""A JSON body from a stranger: parsed, and no deeper than the limit."""

from itertools import chain
from typing import Any

import orjson

from serving.errors import MalformedRequest
from serving.limits import Limits

Json = dict[str, Any]  # Any: JSON from a client, looked at field by field by whoever reads it


def parse(body: bytes | memoryview, limits: Limits) -> Json:
    """Return the object in a body; raise MalformedRequest for anything else, or where it is built to fill the memory."""
    # Counted before they are built; brackets in a text count too, but no text of ours has a million.
    lists = _brackets(body)
    if lists > limits.json_lists:
        raise MalformedRequest.at("body", expected=f"at most {limits.json_lists:,} lists and objects", found=f"{lists:,}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest.at("body", expected="JSON", found=f"{len(body):,} bytes that are not: {error}") from None
    if not isinstance(value, dict):
        raise MalformedRequest.at("body", expected="an object", found=kind(value))
    # Every level opens a bracket, so a body with few of them needs no look at its structure.
    if lists > limits.json_depth and _deeper_than(value, limits.json_depth):
        raise MalformedRequest.at("body", expected=f"JSON nested at most {limits.json_depth} deep", found="more")
    return value


def kind(value: object) -> str:
    """Return what sort of JSON value this is, in words."""
    words = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return "nothing" if value is None else words[type(value)]


def show(value: object) -> str:
    """Return a value as it was written, cut to a length that fits into a message."""
    if isinstance(value, dict | list):
        return kind(value)
    text = orjson.dumps(value).decode()
    return text if len(text) <= 80 else text[:77] + "…"


def _brackets(body: bytes | memoryview) -> int:
    data = bytes(body)
    return data.count(b"[") + data.count(b"{")


def _deeper_than(value: object, depth: int) -> bool:
    """Tell whether a JSON value is nested deeper; level by level, since a recursion would be what this guards against."""
    level: list[Any] = [value]
    for _ in range(depth):
        inner = chain.from_iterable(part.values() if type(part) is dict else part for part in level)
        level = [part for part in inner if type(part) is list or type(part) is dict]
        if not level:
            return False
    return True
