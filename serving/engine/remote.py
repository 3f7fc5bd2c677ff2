"""RemoteEngine: the engine of a front end whose models are in another process, at the other end of a pair of sockets.

It knows what is served there, because it is told before it can matter: a new version is announced here before the old one
is closed there, and the engine waits for that (see audience.py). So a request is decoded, and checked on its own, without
a question to anybody, and what is sent for a version arrives before that version is gone. Where the engine's process has
ended, whatever was sent there is answered 503, and so is what comes until another has taken its place.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence

from models.tensors import SignatureError, Tensors
from serving.counters import OutOfBlocks
from serving.engine import completeness, messages
from serving.engine.answer import Answer
from serving.engine.base import ModelMetadata, ModelStatus
from serving.engine.channel import Channel
from serving.engine.door import Door
from serving.engine.messages import Kind
from serving.engine.mirror import Mirror, Served
from serving.engine.statistics import ModelStatistics, statistics_of
from serving.engine.statuses import merged
from serving.errors import InvalidInput, ModelNotReady
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse
from serving.wire import Frame, WireError

log = logging.getLogger(__name__)

# On the path of every request: plain numbers are compared in a tenth of the time.
_ANSWER, _ERROR = int(Kind.ANSWER), int(Kind.ERROR)
#: An engine's process starts anew in a few seconds.
_RETRY_SECONDS = 1
#: An engine says ten times a second that its event loop runs; opening a session can hold the interpreter for seconds.
_SILENT_SECONDS = 30.0
#: For the event loop to close a connection.
_LEAVE_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_STOPPING = "the server is shutting down"
_GONE = "the engine's process has ended, and is being replaced"
_COMING = "the engine's process is starting"


class RemoteEngine:
    """The engine at the other end. What it counts and says of itself is read in the memory that all processes share.

    Built without a connection: `attach` begins to take those that come through the door.
    """

    def __init__(self, door: Door, metrics: Metrics, *, on_fault: Callable[[], object] = lambda: None) -> None:
        """`on_fault` is called where what the engine's process says is not understood: this process is to be replaced."""
        self._on_fault = on_fault
        self._door = door
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: Channel | None = None
        self._mirror = Mirror()
        #: What is told of an engine's process that has just come, until all of it is here.
        self._coming = Mirror()
        self._whole = threading.Event()
        self._waiting: dict[int, tuple[Answer[InferResponse], str | None]] = {}
        self._numbers = itertools.count(1)
        self._why_not = _COMING
        self._draining = self._closed = False
        self._idle = threading.Event()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Live on an event loop from now on. Called on it, or before it runs."""
        self._loop = loop
        loop.add_reader(self._door.fileno(), self._take)

    def wait_until_told(self, seconds: float) -> bool:
        """Block until all is known of an engine's process, or the time is over; tell which. Never on the loop."""
        return self._whole.wait(seconds)

    async def begin(self, seconds: float) -> None:
        """Live on the event loop that runs this, and give the engine's process so long to tell what it serves."""
        self.attach(asyncio.get_running_loop())
        end = time.monotonic() + seconds
        while not self._whole.is_set() and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)

    def lend(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Take no help: what is computed is computed elsewhere."""

    def cheap_rows(self, model: str, version: int) -> int:
        """Return 0: nothing is computed here."""
        return 0

    def run_now(self, model: str, version: int, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute nothing."""
        return None

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Check a request on its own, and let the engine's process do the rest; its refusals come by the future."""
        metadata, _ = self._find(request.model, request.version)
        channel = self._channel
        try:
            metadata.signature.check(request.inputs)
            number = next(self._numbers)
            frame = messages.request_frame(number, request, time.monotonic())
        except SignatureError as error:
            raise InvalidInput.at(error.field, expected=error.expected, found=error.found) from error
        except WireError as error:
            raise InvalidInput(str(error)) from error
        future: Answer[InferResponse] = Answer()
        self._waiting[number] = future, request.id
        if channel is None or channel is not self._channel or self._closed:
            # It has ended in this very moment, and whoever ended it may not have seen this one.
            self._waiting.pop(number, None)
            raise ModelNotReady(self._why_not, retry_after_seconds=_RETRY_SECONDS)
        channel.send(frame)
        future.add_done_callback(lambda future: self._give_up(number) if future.cancelled() else None)
        return future

    def metadata(self, model: str, version: int | None = None) -> ModelMetadata:
        """Return what is known of a served version."""
        return self._find(model, version)[0]

    def config(self, model: str, version: int | None = None) -> ModelConfig:
        """Return how a version is served."""
        return self._find(model, version)[1]

    def statistics(self, model: str | None = None, version: int | None = None) -> list[ModelStatistics]:
        """Return what the served versions of a model, or for None of every model, have done, over all processes."""
        mirror = self._mirror
        if model is None:
            served = sorted(mirror.served())
        elif version is None and (numbers := mirror.versions(model)):
            served = [(model, number) for number in numbers]
        else:
            served = [(model, self._find(model, version)[0].version)]
        figures = self._metrics.figures()
        known = ((*key, figures.get((key[0], str(key[1])))) for key in served)
        return [statistics_of(name, number, found) for name, number, found in known if found is not None]

    def index(self) -> list[ModelStatus]:
        """Return every model and version with its state, as the engine's process says it."""
        return merged(self._metrics.facts())

    def knows(self, model: str) -> bool:
        """Tell whether this is a model of the repository."""
        return self._mirror.knows(model)

    def ready(self, model: str | None = None, version: int | None = None) -> bool:
        """Tell whether a model can answer; for None, whether this server should be sent requests."""
        if model is None:
            mirror = self._mirror
            loading = mirror.loading or self._metrics.somebody_loads()
            return mirror.whole and bool(mirror) and not loading and not self._draining
        try:
            self._find(model, version)
        except ModelNotReady:
            return False
        return not self._draining

    def was_complete(self) -> bool:
        """Tell whether every version wanted of every model has been served at the same time, ever."""
        return self._metrics.was_complete()

    def alive(self) -> bool:
        """Tell whether every instance makes progress; an engine's process that has ended is replaced, so that one does."""
        return self._mirror.alive and not self._metrics.somebody_is_silent(_SILENT_SECONDS)

    def hangs_for(self) -> float:
        """Return for how long an instance has hung here, where there is none: the engine's process looks after its own."""
        return 0.0

    def abandon(self) -> None:
        """Let every request end with ModelNotReady, at once."""
        self.close(drain_seconds=0.0)

    def drain(self) -> None:
        """Stop being ready, and go on answering."""
        self._draining = True

    def close(self, *, drain_seconds: float) -> None:
        """Refuse new requests, finish accepted ones within the time, and leave the engine's process."""
        self.drain()
        self._closed, self._why_not = True, _STOPPING
        loop, end = self._loop, time.monotonic() + drain_seconds
        if loop is not None and loop.is_running():
            if self._waiting:
                self._idle.wait(drain_seconds)
            asyncio.run_coroutine_threadsafe(self._leave_on_loop(), loop).result(drain_seconds + _LEAVE_SECONDS)
            return
        while self._waiting and (channel := self._channel) is not None and (left_seconds := end - time.monotonic()) > 0:
            channel.wait(left_seconds)
        self._leave()

    def _find(self, model: str, version: int | None) -> Served:
        """Return a served version; raise ModelNotFound, or ModelNotReady with the reason."""
        mirror = self._mirror
        if mirror.whole and not self._closed:
            return mirror.find(model, version)
        if mirror.names_known and not mirror.knows(model):
            raise mirror.absence(model, version)
        raise ModelNotReady(self._why_not, retry_after_seconds=_RETRY_SECONDS)

    def _give_up(self, number: int) -> None:
        """Tell the engine's process that nobody waits for a request any more."""
        if self._waiting.pop(number, None) is not None and (channel := self._channel) is not None:
            channel.send(messages.signal(Kind.CANCEL, number))
        self._look_whether_idle()

    def _take(self) -> None:
        """Take a connection with an engine's process, in place of the one there was."""
        loop = self._loop
        if loop is None:
            return
        try:
            handed = self._door.take()
        except BlockingIOError:
            return
        if handed is None:  # the supervisor is gone: whoever follows its link learns so
            loop.remove_reader(self._door.fileno())
            return
        self._ended(None)
        self._coming = Mirror()
        self._channel = Channel(handed[1], loop, on_frame=self._hear, on_end=self._ended)

    def _ended(self, error: WireError | None) -> None:
        """End with an engine's process that is gone: what was sent to it is answered."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        channel.close()
        if not self._closed:
            self._why_not = _GONE
            self._whole.clear()
            log.error("event=engine_gone waiting=%d reason=%r", len(self._waiting), "" if error is None else str(error))
            if error is not None:
                # Connections are handed over when a process starts, so only another one can get another.
                self._on_fault()
        self._mirror = self._mirror.names()
        for number in list(self._waiting):
            self._fail(number, ModelNotReady(self._why_not, retry_after_seconds=_RETRY_SECONDS))

    def _hear(self, frame: Frame) -> None:
        kind, number, head, data = frame
        try:
            if kind == _ANSWER:
                self._answered(number, head, data)
            elif kind == _ERROR:
                self._fail(number, messages.error_of(head))
            else:
                self._told(kind, number, head, data)
        except WireError as error:
            self._ended(error)

    def _answered(self, number: int, head: object, data: memoryview) -> None:
        waiting = self._waiting.get(number)
        if waiting is None:  # nobody waits for it any more
            return
        future, id = waiting
        response = messages.answer_of(head, data, id)
        self._waiting.pop(number, None)
        if future.set_running_or_notify_cancel():
            future.set_result(response)
        self._look_whether_idle()

    def _fail(self, number: int, error: Exception) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and waiting[0].set_running_or_notify_cancel():
            waiting[0].set_exception(error)
        self._look_whether_idle()

    def _told(self, kind: int, number: int, head: object, data: memoryview) -> None:
        """Take what the engine's process says of what it serves."""
        mirror = self._coming
        if kind == Kind.STATUS:
            mirror.set_statuses(*messages.statuses_of(head))
        elif kind == Kind.SERVED:
            self._serve(*messages.served_of(head, data))
        elif kind == Kind.SERVER:
            mirror.loading, mirror.alive = messages.server_of(head)
        elif kind == Kind.WHOLE:
            mirror.whole = True
            self._metrics.loaded()
            completeness.note(self._metrics)
            self._mirror = mirror
            self._why_not = _GONE
            self._whole.set()
        if mirror.whole and not mirror.loading and kind in (Kind.WHOLE, Kind.SERVER):
            # What the front end before this one has counted of versions that are not there any more.
            self._metrics.keep(mirror.served() | mirror.stated())
        if number and self._channel is not None:
            self._channel.send(messages.signal(Kind.HEARD, number))

    def _serve(self, model: str, versions: dict[int, Served]) -> None:
        """Serve these versions of a model from now on; requests are counted by them."""
        before = self._coming.versions(model)
        for number in versions:
            with contextlib.suppress(OutOfBlocks):  # how its requests end is counted with its model
                self._metrics.of_version(model, number)
        self._coming.set_served(model, versions)
        for number in before:
            if number not in versions:
                self._metrics.retire(model, number)

    def _look_whether_idle(self) -> None:
        if self._closed and not self._waiting:
            self._idle.set()

    async def _leave_on_loop(self) -> None:
        self._leave()

    def _leave(self) -> None:
        """Close the connection, and answer whoever still waits."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._door.fileno())
        self._ended(None)
