"""What the head of a request says, in the terms of the routes, and whether another head says the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Names and values, as they came or plain.
RawHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Head:
    """The head of a request that the lane takes, kept for the next one of its connection."""

    url: bytes
    raw: RawHeaders
    path: str
    headers: Mapping[str, str]
    #: What WSGI asks for of it, once somebody has asked.
    environ: dict[str, Any] | None = None  # Any: PEP 3333 leaves it open

    def is_said(self, parser: Any, url: bytes, raw: RawHeaders) -> bool:  # Any: httptools is not typed
        """Tell whether the head that was just parsed is the same, byte for byte."""
        return raw == self.raw and url == self.url and parser.get_method() == b"POST" and parser.get_http_version() == "1.1"


def plain(raw: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return headers with their names in lower case, and without the blanks that follow a value (RFC 9110, section 5.5)."""
    return [(name.lower(), value.strip(b" \t")) for name, value in raw]


def headers_of(raw: RawHeaders) -> dict[str, str]:
    """Return the headers; one that comes several times as a list of its values (RFC 9110, section 5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
