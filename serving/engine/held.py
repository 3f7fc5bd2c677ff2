"""A version that replicas of a cluster hold: to the table and to front ends like any other, computed elsewhere.

Requests are checked here, on their own, and wait here, in a batcher: as long as they do they can be given up, expire, be
refused where too many wait, for nothing. As many calls are under way as keep the replicas busy; each takes with it what
has come by then, so that under load a call, which costs milliseconds, is shared by a batch. On a replica they meet those
of other calls in another batcher.

Inference may be repeated: what was with a replica that has died goes to another one, so often, and at last each request
alone, in case one of them is what replicas die of.
"""

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import InvalidStateError
from functools import partial
from typing import Protocol

from models.tensors import Tensors
from serving.engine import messages, parcels
from serving.engine.answer import Answer
from serving.engine.batcher import Batcher
from serving.engine.entry import Entry, entry_of
from serving.engine.instance import Identity
from serving.engine.parcels import Batch, Opened
from serving.errors import InternalError, InvalidInput, ModelNotReady, ServingError
from serving.metrics import Metrics
from serving.request import InferRequest, InferResponse, Timings
from serving.wire import Buffer, WireError

log = logging.getLogger(__name__)

#: How often a request is given to a replica; the last time alone.
_TRIES = 4
#: A cluster needs a moment to see that a replica has died.
_PAUSE_SECONDS = 0.05
#: And one that refuses answers quickly, so that it would be asked again at once: until others have answered theirs.
_REFUSED_PAUSE_SECONDS = 0.25
_STOPPING = "the server is shutting down"


class Lost(Exception):
    """A call has ended without an answer, as its replica has."""


class Carrier(Protocol):
    """Takes parcels to replicas."""

    #: Where calls are made.
    loop: asyncio.AbstractEventLoop

    def slots(self) -> int:
        """Return how many calls of one version may be under way."""
        ...

    async def carry(self, key: str, parcel: bytes) -> bytes:
        """Give a parcel to a replica and return what it answers; raise Lost. Cancelled, so is the call."""
        ...

    def let_go(self, version: "HeldVersion") -> None:
        """Let replicas close a version that nobody asks for any more."""
        ...


class HeldVersion:
    """One version, open in replicas."""

    def __init__(self, opened: Opened, carrier: Carrier, metrics: Metrics, *, queues: int, verified: bool) -> None:
        """`queues`: as many rows may wait here as in so many replicas."""
        metadata = opened.metadata
        rows = max(1, metadata.signature.max_batch_size)
        self.hangs = ""
        self.lost = False
        self.config = opened.config
        self.format = opened.format
        self.remark = opened.remark
        self.metadata = metadata
        self.opened_from = opened.opened_from
        self.identity = Identity(metadata.name, metadata.version, metadata.digest, metadata.signature, verified)
        self.held = opened.held
        self._carrier = carrier
        self._queue_rows = queues * (opened.config.queue_rows or 4 * rows)
        self._batcher = Batcher(batch_rows=rows, queue_rows=self._queue_rows)
        self._series = metrics.of_version(metadata.name, metadata.version)
        self._woken = False
        self._calls: set[asyncio.Task[None]] = set()
        self._closed = False
        self._idle = threading.Event()

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Check a request on its own and let it wait for a call; raise SignatureError, InvalidInput, Overloaded."""
        entry = entry_of(request, self.identity.signature, self.config)
        self._batcher.put(entry, wake=False)
        # Two threads may both wake the loop, which is harmless: `_turn` clears the flag *before* it looks at what waits.
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the process about to end
                self._carrier.loop.call_soon_threadsafe(self._turn)
        return entry.future

    def cheap_rows(self) -> int:
        """Return 0: nothing is computed here."""
        return 0

    def run_now(self, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute nothing."""
        return None

    def introduce(self) -> None:
        """Tell the metrics what is served from now on."""
        self._series.watch_queue(self._batcher.rows)
        identity = self.identity
        self._series.tell(
            format=self.format,
            digest=identity.digest,
            verified=identity.verified,
            identity=self.opened_from,
            queue_rows=self._queue_rows,
        )

    def runs_for(self, now: float) -> float:
        """Return 0: each replica looks after its own, and is replaced where a batch hangs."""
        return 0.0

    def abandon(self) -> None:
        """Let every request that is accepted end with ModelNotReady, at once."""
        self._batcher.close()
        self._closed = True
        error = ModelNotReady(_STOPPING, retry_after_seconds=1)
        for entry in self._batcher.clear():
            _fail(entry, error)
        with contextlib.suppress(RuntimeError):
            self._carrier.loop.call_soon_threadsafe(lambda: [call.cancel() for call in self._calls])

    def close(self, *, drain_seconds: float) -> bool:
        """Refuse new requests, finish accepted ones within the time, let replicas close it; tell whether it was all."""
        self._batcher.close()
        self._closed = True
        with contextlib.suppress(RuntimeError):
            self._carrier.loop.call_soon_threadsafe(self._turn)
        finished = self._idle.wait(drain_seconds)
        if not finished:
            self.abandon()
        self._carrier.let_go(self)
        return finished

    def _turn(self) -> None:
        """Begin as many calls as there are slots and requests for. On the loop."""
        self._woken = False
        slots = self._carrier.slots()
        while len(self._calls) < slots and self._batcher.rows():
            batch = self._batcher.take_now()
            self._batcher.leave()
            if batch:
                call = self._carrier.loop.create_task(self._call(batch))
                self._calls.add(call)
                call.add_done_callback(self._ended)
                _cancel_with(call, batch)
        if self._closed and not self._calls and not self._batcher.rows():
            self._idle.set()

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._turn()

    async def _call(self, batch: list[Entry]) -> None:
        """Have a batch computed, whatever becomes of replicas meanwhile; each request gets its answer, or why not."""
        try:
            for tries in range(_TRIES - 1):
                batch, error, pause = await self._try(batch)
                if not batch:
                    return
                await asyncio.sleep(pause * 2**tries)
            for entry in batch:
                left, error, _ = await self._try([entry])
                for one in left:
                    _fail(one, error)
        except asyncio.CancelledError:
            error = ModelNotReady(_STOPPING, retry_after_seconds=1)
            for entry in batch:
                _fail(entry, error)
            raise
        except Exception:
            log.exception("event=internal_error model=%s version=%d", self.identity.model, self.identity.version)
            for entry in batch:
                _fail(entry, InternalError("an internal error; the server's log has its cause"))

    async def _try(self, batch: list[Entry]) -> tuple[list[Entry], ServingError, float]:
        """Give a batch to a replica; return those of it that another one may answer, what to tell them if none does, and
        after how many seconds it may be tried.
        """
        lost = ModelNotReady("the replica that computed this has ended", retry_after_seconds=1)
        now = time.monotonic()
        asked: dict[int, Entry] = {}
        frames: list[list[Buffer]] = []
        for number, entry in enumerate(batch):
            if entry.future.done():
                continue
            try:
                request = dataclasses.replace(entry.request, deadline=entry.deadline)
                frames.append(messages.request_frame(number, request, now))
                asked[number] = entry
            except WireError as unsent:
                _fail(entry, InvalidInput(str(unsent)))
        if not asked:
            return [], lost, 0.0
        try:
            parcel = await self._carrier.carry(self.held.key, parcels.requests_parcel(self.held, frames))
        except Lost as error:
            log.info("event=call_lost model=%s requests=%d reason=%r", self.identity.model, len(asked), str(error))
            return list(asked.values()), lost, _PAUSE_SECONDS
        ends, batches = parcels.answers_of(parcel)
        return *self._settle(asked, ends, batches), _REFUSED_PAUSE_SECONDS

    def _settle(
        self, asked: Mapping[int, Entry], ends: Mapping[int, InferResponse | ServingError], batches: Sequence[Batch]
    ) -> tuple[list[Entry], ServingError]:
        """Count the batches that were run, give everybody the own answer, and return those who are to ask elsewhere."""
        now = time.monotonic()
        on_the_way = [now - asked[number].queued - _spent(end) for number, end in ends.items() if _is_answer(end)]
        # What a request waited here, and was on its way, is waiting too.
        more = max(0.0, sum(on_the_way) / len(on_the_way)) if on_the_way else 0.0
        for rows, queued, join, run, split in batches:
            self._series.batch(rows, [one + more for one in queued], join=join, run=run, split=split)
            # As many calls as there are slots are answered in that time: the hopeful estimate, by which nobody is refused
            # who could have been answered.
            self._batcher.ran(rows, (join + run + split) / self._carrier.slots())
        elsewhere: list[Entry] = []
        error: ServingError = ModelNotReady("the replica gave no answer", retry_after_seconds=1)
        for number, entry in asked.items():
            end = ends.get(number)
            if isinstance(end, InferResponse):
                _answer(entry, end, now)
            elif end is None or isinstance(end, ModelNotReady):
                error = end or error
                elsewhere.append(entry)
            else:
                _fail(entry, end)
        return elsewhere, error


def _cancel_with(call: "asyncio.Task[None]", batch: Sequence[Entry]) -> None:
    """Give a call up once nobody waits for any of its answers."""
    left = set(range(len(batch)))
    loop = call.get_loop()

    def leave(place: int) -> None:
        left.discard(place)
        if not left:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(call.cancel)

    for place, entry in enumerate(batch):
        entry.future.on_cancel = partial(leave, place)
        if entry.future.cancelled():  # before it could be told of
            leave(place)


def _is_answer(end: InferResponse | ServingError) -> bool:
    return isinstance(end, InferResponse)


def _spent(end: InferResponse | ServingError) -> float:
    """Return the seconds that an answer took in its replica."""
    if not isinstance(end, InferResponse):
        return 0.0
    took = end.timings
    return took.queue + took.join + took.run + took.split


def _answer(entry: Entry, response: InferResponse, now: float) -> None:
    """Give an answer. Its times began on another machine's clock: what it did not take to compute, it waited here."""
    took = response.timings
    waited = max(0.0, now - entry.queued - took.join - took.run - took.split)
    response.timings = Timings(waited, took.join, took.run, took.split, entry.queued)
    response.id = entry.request.id
    if entry.future.set_running_or_notify_cancel():
        entry.future.set_result(response)


def _fail(entry: Entry, error: ServingError) -> None:
    with contextlib.suppress(InvalidStateError):
        if not entry.future.done() and entry.future.set_running_or_notify_cancel():
            entry.future.set_exception(error)
