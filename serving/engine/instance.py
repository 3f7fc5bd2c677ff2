"""An instance: one session, used by one thread at a time. Take, join, run, split, answer.

It has a thread of its own, which waits for batches. Where a batch is cheap, the thread that brought its requests serves it
itself with `try_serve`: two threads that hand over a request and its answer take longer than a small model computes.

Whatever a backend does, each entry taken gets exactly one answer, and the thread goes on. One whose values make the
backend fail fails alone.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from dataclasses import dataclass

from models.tensors import Signature, Tensors
from serving.backends.base import DeviceLost, Session
from serving.engine.batch import check_outputs, join, split
from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.errors import DeadlineExceeded, InferenceFailed, ServingError
from serving.metrics import Series
from serving.request import InferResponse, Timings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What answers say of the version that made them."""

    model: str
    version: int
    digest: str
    signature: Signature
    verified: bool = True


class Instance:
    """Serves a batcher's batches with one session until the batcher is closed and empty."""

    def __init__(
        self,
        identity: Identity,
        session: Session,
        batcher: Batcher,
        *,
        series: Series,
        number: int,
    ) -> None:
        self._identity = identity
        self._session = session
        self._batcher = batcher
        self._series = series
        #: The batch in the session, and since when (monotonic).
        self._running: tuple[float, list[Entry]] | None = None
        #: Whether its device computes nothing any more, for anybody in this process.
        self.lost = False
        #: Held by whoever uses the session.
        self._in_use = threading.Lock()
        name = f"{identity.model}/{identity.version}#{number}"
        # A daemon, so that a runtime which hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until the thread has ended and no other uses the session; tell whether that is so."""
        end = time.monotonic() + timeout_seconds
        self._thread.join(timeout_seconds)
        if self._thread.is_alive() or not self._in_use.acquire(timeout=max(0.0, end - time.monotonic())):
            return False
        self._in_use.release()
        return True

    def close(self) -> None:
        """Free the session, which nobody uses any more."""
        self._session.close()

    def runs_for(self, now: float) -> float:
        """Return for how many seconds the batch in the session has run, 0 if there is none."""
        running = self._running
        return 0.0 if running is None else now - running[0]

    def abandon(self, error: ServingError) -> None:
        """Answer the batch in the session with an error: the session hangs, and nobody will use its answer."""
        running = self._running
        for entry in running[1] if running is not None else ():
            with contextlib.suppress(InvalidStateError):  # answered in this very moment
                entry.future.set_exception(error)

    def try_serve(self) -> bool | None:
        """Serve the batch that is due, if any, in this thread; tell whether more wait, None if the session is in use.

        Never waits for anybody, but as long as the batch takes.
        """
        if not self._in_use.acquire(blocking=False):
            return None
        try:
            batch = self._batcher.take_now()
            if batch:
                self._serve_batch(batch)
            del batch
            return self._batcher.leave()
        finally:
            self._in_use.release()

    def try_run(self, inputs: Sequence[Tensors], rows: Sequence[int], *, queued: float) -> list[InferResponse] | None:
        """Run requests as one batch in this thread, and return their answers, with every output.

        None: the session is in use, or it, or one of the requests, is at fault. What is at fault is found by serving each.
        """
        if not self._in_use.acquire(blocking=False):
            return None
        taken = time.monotonic()
        count = sum(rows)
        identity = self._identity
        self._running = (taken, [])
        try:
            joined_inputs = join(inputs, count, self._session.allocate)
            joined = time.monotonic()
            outputs = self._session.run(joined_inputs)
            ran = time.monotonic()
            check_outputs(identity.signature, outputs, count)
            parts = list(split(outputs, rows))
        except BaseException:  # noqa: BLE001 - whatever it is, it happens again to whom it is owed
            return None
        finally:
            self._running = None
            self._in_use.release()
        now = time.monotonic()
        waited, spent = taken - queued, now - ran
        self._series.batch(count, [waited] * len(rows), join=joined - taken, run=ran - joined, split=spent)
        self._batcher.ran(count, now - taken)
        timings = Timings(waited, joined - taken, ran - joined, spent, queued)
        return [
            InferResponse(identity.model, identity.version, identity.digest, part, None, timings, own, identity.verified)
            for part, own in zip(parts, rows, strict=True)
        ]

    def _serve(self) -> None:
        while (batch := self._batcher.take()) is not None:
            with self._in_use:
                self._serve_batch(batch)
            # Neither inputs nor answers may live on in this frame while the thread waits for the next batch.
            del batch

    def _serve_batch(self, batch: list[Entry]) -> None:
        # From here on an entry cannot be cancelled; one that was cancelled just now is left out.
        entries = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
        if entries:
            # An entry has its answer already where the batch hung, and was abandoned.
            with contextlib.suppress(InvalidStateError):
                self._answer(entries)
            self._running = None

    def _answer(self, entries: list[Entry]) -> None:
        """Run one batch and resolve every entry's future, with its answer or with InferenceFailed.

        What is in a tensor may make a runtime raise, as a place outside a table does, and no signature knows of it. So a
        batch that fails is run again in halves: whoever is to blame fails alone, after log2(n) runs for his neighbours.
        """
        taken = time.monotonic()
        self._running = (taken, entries)
        rows = sum(entry.rows for entry in entries)
        signature = self._identity.signature
        try:
            inputs = join([entry.request.inputs for entry in entries], rows, self._session.allocate)
            joined = time.monotonic()
            outputs = self._session.run(inputs)
            ran = time.monotonic()
            check_outputs(signature, outputs, rows)
            parts = list(split(outputs, [entry.rows for entry in entries]))
        except BaseException as error:  # noqa: BLE001 - a runtime may raise anything, and these clients are owed an answer
            if isinstance(error, DeviceLost):
                self.lost = True
            if len(entries) > 1 and not self.lost:
                self._answer_in_halves(entries)
                return
            log.error(
                "event=inference_failed model=%s version=%d rows=%d error=%r",
                self._identity.model, self._identity.version, rows, error,
            )  # fmt: skip
            for entry in entries:
                entry.future.set_exception(InferenceFailed("the model could not compute this request"))
            return
        self._tell(entries, parts, rows=rows, taken=taken, joined=joined, began=joined, ran=ran)
        # All that kept this thread from the next batch, also what it did after the answers were there.
        self._batcher.finished(rows, time.monotonic() - taken)

    def _tell(
        self,
        entries: list[Entry],
        parts: Sequence[Tensors],
        *,
        rows: int,
        taken: float,
        joined: float,
        began: float,
        ran: float,
    ) -> None:
        """Count a batch, and give everybody the own part. Times are monotonic; it ran from `began` to `ran`."""
        now = time.monotonic()
        # What it waited for a device between being joined and being run is waiting too.
        idle = began - joined
        run, spent = ran - began, now - ran
        # Counted before anybody is answered: a client that asks for the figures next finds its own request in them.
        queued = [taken - entry.queued + idle for entry in entries]
        self._series.batch(rows, queued, join=joined - taken, run=run, split=spent)
        for entry, part, waited in zip(entries, parts, queued, strict=True):
            timings = Timings(waited, joined - taken, run, spent, entry.queued)
            entry.future.set_result(self._response(entry, part, timings))

    def _answer_in_halves(self, entries: list[Entry]) -> None:
        """Run a batch that failed as two; whose deadline has passed by now needs no answer any more."""
        middle = len(entries) // 2
        for half in (entries[:middle], entries[middle:]):
            now = time.monotonic()
            for entry in half:
                if entry.deadline <= now:
                    entry.future.set_exception(DeadlineExceeded("the deadline passed while the request was computed"))
            if due := [entry for entry in half if entry.deadline > now]:
                self._answer(due)

    def _response(self, entry: Entry, outputs: Tensors, timings: Timings) -> InferResponse:
        request, identity = entry.request, self._identity
        wanted = request.outputs
        selected = outputs if wanted is None else {name: outputs[name] for name in wanted}
        return InferResponse(
            identity.model, identity.version, identity.digest, selected, request.id, timings, entry.rows, identity.verified
        )
