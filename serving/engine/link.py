"""The link between the supervisor and one of its workers: lines of JSON over a pair of sockets.

    supervisor → worker    prepare model versions · commit · discard · unload model · answer to what it asked
    worker → supervisor    loaded · done (what it was told to do) · ask load model · ask unload model

A line that is no message of this program's is a fault of this program: nobody else can write here.
"""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from serving.errors import ModelNotFound, ModelNotReady, ServingError

Message = dict[str, Any]  # Any: JSON

#: The errors that can cross the link, by their code; any other becomes ModelNotReady.
_ERRORS: dict[str, type[ServingError]] = {error.code: error for error in (ModelNotFound, ModelNotReady)}


class Link:
    """One end. Sending is safe from any thread; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._lines = end.makefile("rb")

    def send(self, **message: object) -> bool:
        """Send a message; tell whether the other end was there."""
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._end.sendall(line)
        except OSError:
            return False
        return True

    def receive(self) -> Iterator[Message]:
        """Yield messages until the other end is gone."""
        try:
            for line in self._lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
        except OSError:
            return

    def close(self) -> None:
        """Close this end."""
        self._lines.close()
        self._end.close()


def error_to_json(error: BaseException | None) -> Message | None:
    """Return an error as it crosses the link; only what a client may read."""
    if error is None:
        return None
    if not isinstance(error, ServingError):
        error = ModelNotReady("an internal error; the server's log has its cause")
    return {"code": error.code, "text": str(error), "retry": error.retry_after_seconds}


def error_from_json(json: Message | None) -> ServingError | None:
    """Return the error that crossed the link."""
    if json is None:
        return None
    return _ERRORS.get(json["code"], ModelNotReady)(json["text"], retry_after_seconds=json["retry"])
