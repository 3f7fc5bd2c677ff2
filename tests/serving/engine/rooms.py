"""Entries that ask for nothing but a place, and rooms for them to wait in."""

import contextlib
import threading
import time
from collections.abc import Hashable, Iterator

import numpy as np

from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.request import InferRequest

#: Longer than any test may take: whoever waits so long has been forgotten.
PATIENCE = 20.0


def entry(rows: int = 1, *, shape: Hashable = (), expires_in: float = PATIENCE, priority: int = 0) -> Entry:
    request = InferRequest("toy", None, {"x": np.zeros(rows, np.float32)})
    return Entry(request, rows=rows, shape=shape, deadline=time.monotonic() + expires_in, priority=priority)


def batcher(*, batch_rows: int = 4, queue_rows: int = 16, delay_seconds: float = 0.0) -> Batcher:
    return Batcher(batch_rows=batch_rows, queue_rows=queue_rows, delay_seconds=delay_seconds)


def filled(room: Batcher, *entries: Entry) -> list[Entry]:
    for one in entries:
        room.put(one)
    return list(entries)


@contextlib.contextmanager
def room_of_one_idle(room: Batcher) -> Iterator[threading.Event]:
    """Let one instance wait in the room; the event tells that it has taken a batch."""
    took = threading.Event()

    def take() -> None:
        if room.take() is not None:
            took.set()

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    end = time.monotonic() + PATIENCE
    while not room._idle and time.monotonic() < end:
        pass
    yield took
    room.close()
    taker.join(PATIENCE)


def expired(*entries: Entry) -> None:
    """Let the time of entries that wait be over."""
    for one in entries:
        one.deadline = time.monotonic()
