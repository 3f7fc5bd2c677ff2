"""One request as the waiting room has it: what it waits in line with, until when, and who is told."""

import math
from collections.abc import Hashable, Iterable

from serving.engine.answer import Answer
from serving.errors import DeadlineExceeded
from serving.request import InferRequest, InferResponse


class Entry:
    """One request in the waiting room.

    Its company must share `shape`; a smaller `priority` goes first; `deadline` is a time of time.monotonic.
    """

    __slots__ = ("begins", "deadline", "future", "line", "priority", "queued", "request", "rows")

    def __init__(self, request: InferRequest, *, rows: int, shape: Hashable, deadline: float, priority: int = 0) -> None:
        self.request = request
        self.rows = rows
        self.line = (priority, shape)
        self.priority = priority
        self.deadline = deadline
        self.queued = 0.0
        #: When its batch was expected to begin; infinite before anything was measured.
        self.begins = math.inf
        self.future: Answer[InferResponse] = Answer()


def expire(entries: Iterable[Entry]) -> None:
    """Tell those whose deadline has passed so."""
    for entry in entries:
        if entry.future.set_running_or_notify_cancel():
            entry.future.set_exception(DeadlineExceeded("the deadline passed while the request waited in the queue"))
