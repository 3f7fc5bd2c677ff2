"""One request as the waiting room has it: what it waits in line with, until when, and who is told."""

import math
import time
from collections.abc import Hashable, Iterable

from models.tensors import Signature
from serving.engine.answer import Answer
from serving.errors import DeadlineExceeded, InvalidInput
from serving.model_config import ModelConfig
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


def entry_of(request: InferRequest, signature: Signature, config: ModelConfig) -> Entry:
    """Check a request on its own and return it as it waits; raise SignatureError, InvalidInput."""
    rows = signature.check(request.inputs)
    if request.outputs is not None:
        _check_wanted(request.outputs, signature)
    # Where every axis but the first is fixed, all requests have equal shapes already.
    shape = tuple([request.inputs[spec.name].shape[1:] for spec in signature.inputs])
    deadline = time.monotonic() + config.timeout_seconds if request.deadline is None else request.deadline
    return Entry(request, rows=rows, shape=shape, deadline=deadline, priority=_level(request.priority, config))


def _level(priority: int, config: ModelConfig) -> int:
    """Return the level a request waits on; levels that the configuration does not have are refused."""
    levels = config.priority_levels
    if not levels:
        return 0
    if priority > levels:
        raise InvalidInput.at("priority", expected=f"0 to {levels}", found=str(priority))
    return priority or config.default_priority or levels


def _check_wanted(wanted: tuple[str, ...], signature: Signature) -> None:
    for name in wanted:
        if signature.output(name) is None:
            expected = ", ".join(spec.name for spec in signature.outputs)
            raise InvalidInput.at("outputs", expected=f"outputs among {expected}", found=repr(name))


def expire(entries: Iterable[Entry]) -> None:
    """Tell those whose deadline has passed so."""
    for entry in entries:
        if entry.future.set_running_or_notify_cancel():
            entry.future.set_exception(DeadlineExceeded("the deadline passed while the request waited in the queue"))
