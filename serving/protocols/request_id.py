"""The name of one request: the client's own, or one made here. Every answer, log record and trace carries it.

A client's id is taken as it is or not at all, so it can be found again by whoever sent it. What is in it is bounded here,
before it reaches a log or a header.
"""

import itertools
import re
import secrets
from collections.abc import Mapping

HEADER = "x-request-id"

#: UUIDs, ULIDs, trace ids and base64 fit; spaces, quotes and control characters do not. 128 hold two UUIDs and a prefix.
_ALLOWED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)


class RequestIds:
    """Names requests. Ids made here are unique: a random prefix per instance, and a counter. Thread-safe."""

    def __init__(self) -> None:
        # 8 bytes: among a billion processes two share a prefix with a chance of 1 in 37. A random id per request would
        # ask the kernel each time.
        self._prefix = secrets.token_hex(8) + "-"
        self._counter = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """Return the id of a request with these headers; a new one where they name none that is allowed."""
        given = headers.get(HEADER)
        if given is not None and _ALLOWED.fullmatch(given):
            return given
        return f"{self._prefix}{next(self._counter):x}"
