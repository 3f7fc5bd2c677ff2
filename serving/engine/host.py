"""The engine's end of its connections with front ends: their requests meet in the same batches, whoever sent them.

Requests are handed to the engine on the event loop, which never computes; answers come from instance threads. The loop
is woken by the first of them, and sends what has come by then: the answers of a batch go in one call to each front end.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable

from serving.engine import messages
from serving.engine.answer import Answer
from serving.engine.audience import Audience
from serving.engine.channel import Channel
from serving.engine.door import Door
from serving.engine.local import LocalEngine
from serving.engine.messages import Kind
from serving.errors import InternalError, ModelNotReady, ServingError
from serving.request import InferResponse
from serving.wire import Buffer, Frame, Head, WireError

log = logging.getLogger(__name__)

# On the path of every request: plain numbers are compared in a tenth of the time.
_INFER, _CANCEL = int(Kind.INFER), int(Kind.CANCEL)


class Host:
    """One engine for any number of front ends, each of which is handed in by the door."""

    def __init__(self, engine: LocalEngine, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._door = door
        self._loop = loop
        self._audience = Audience(engine.management, loop)
        self._fronts: set[_Front] = set()
        loop.add_reader(door.fileno(), self._take)
        # What is cheap is computed by this loop, in batches of all that it has read by then.
        loop.call_soon(lambda: engine.lend(loop.call_soon))

    @property
    def connected(self) -> bool:
        """Whether there is any front end."""
        return bool(self._fronts)

    def look(self) -> None:
        """Tell the front ends if the process is in another state than before. Called on the loop, now and then."""
        self._audience.say(loading=self._engine.management.loading, alive=self._engine.alive())

    def finish(self, seconds: float) -> None:
        """Send the answers that are there, for so long at most, and leave every front end."""
        end = time.monotonic() + seconds
        for front in list(self._fronts):
            front.deliver()
            front.channel.finish(max(0.0, end - time.monotonic()))
            front.channel.close()
        self._fronts.clear()

    def _take(self) -> None:
        """Take a connection with a front end."""
        try:
            handed = self._door.take()
        except BlockingIOError:
            return
        if handed is None:  # the supervisor is gone: whoever follows its link learns so
            self._loop.remove_reader(self._door.fileno())
            return
        front = _Front(self._engine, self._audience, self._loop, self._left)
        self._fronts.add(front)
        front.begin(handed[1])

    def _left(self, front: "_Front") -> None:
        self._fronts.discard(front)


class _Front:
    """One front end. What it has asked and has not been answered is given up when it is gone."""

    channel: Channel

    def __init__(
        self,
        engine: LocalEngine,
        audience: Audience,
        loop: asyncio.AbstractEventLoop,
        left: Callable[["_Front"], None],
    ) -> None:
        self._engine = engine
        self._audience = audience
        self._loop = loop
        self._left = left
        self._asked: dict[int, Answer[InferResponse]] = {}
        self._done: deque[tuple[int, Answer[InferResponse]]] = deque()
        self._woken = False

    def begin(self, end: socket.socket) -> None:
        """Begin to answer at this end of the connection."""
        self.channel = Channel(end, self._loop, on_frame=self._hear, on_end=self._ended)
        self._audience.join(self.channel)

    def deliver(self) -> None:
        """Send the answers that have come."""
        self._woken = False
        done, send = self._done, self.channel.send
        while done:
            number, future = done.popleft()
            send(_frame(number, future))
        self.channel.flush()

    def _hear(self, frame: Frame) -> None:
        kind, number, head, data = frame
        if kind == _INFER:
            self._infer(number, head, data)
        elif kind == _CANCEL:
            future = self._asked.pop(number, None)
            if future is not None:
                future.cancel()
        else:
            self._audience.heard(self.channel, number)

    def _infer(self, number: int, head: Head, data: memoryview) -> None:
        """Hand a request to the engine; what it refuses at once is answered at once."""
        try:
            future = self._engine.submit(messages.request_of(head, data, time.monotonic()))
        except Exception as error:  # noqa: BLE001 - whatever happened, the front end waits for an answer
            self.channel.send(_error(number, error))
            return
        self._asked[number] = future
        future.add_done_callback(lambda future: self._answered(number, future))

    def _answered(self, number: int, future: Answer[InferResponse]) -> None:
        """Take an answer, in whatever thread it has come; the first one wakes the loop."""
        if self._asked.pop(number, None) is None:  # given up
            return
        self._done.append((number, future))
        # Two threads may both wake the loop, which is harmless: `deliver` clears the flag *before* it looks at what is done.
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the process about to end
                self._loop.call_soon_threadsafe(self.deliver)

    def _ended(self, error: WireError | None) -> None:
        """Give up what a front end has asked that is gone."""
        if error is not None:
            log.error("event=front_end_not_understood reason=%r", str(error))
        self._audience.leave(self.channel)
        self._left(self)
        for number in list(self._asked):
            future = self._asked.pop(number, None)
            if future is not None:
                future.cancel()


def _frame(number: int, future: Answer[InferResponse]) -> list[Buffer]:
    """Return what has become of a request, as a frame."""
    if future.cancelled():  # by nobody here: whoever asked has gone another way
        return _error(number, ModelNotReady("the request was given up", retry_after_seconds=1))
    error = future.exception()
    try:
        return messages.answer_frame(number, future.result()) if error is None else _error(number, error)
    except WireError as unsent:
        return _error(number, unsent)


def _error(number: int, error: BaseException) -> list[Buffer]:
    """Return an error as a frame; the cause of one that clients are not told is logged here."""
    if not isinstance(error, ServingError):
        log.error("event=internal_error", exc_info=error)
        error = InternalError("an internal error; the server's log has its cause")
    return messages.error_frame(number, error)
