"""An instance: one session and the one thread that uses it. Take, join, run, split, answer.

Whatever a backend does, each entry taken gets exactly one answer, and the thread goes on.
"""

import logging
import threading
import time
from dataclasses import dataclass

from models.tensors import Signature, Tensors
from serving.backends.base import Session
from serving.engine.batch import check_outputs, join, split
from serving.engine.batcher import Batcher, Entry
from serving.engine.statistics import Statistics
from serving.errors import InferenceFailed
from serving.metrics import VersionMetrics
from serving.request import InferResponse, Timings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What answers say of the version that made them."""

    model: str
    version: int
    digest: str
    signature: Signature


class Instance:
    """Serves a batcher's batches with one session until the batcher is closed and empty."""

    def __init__(
        self,
        identity: Identity,
        session: Session,
        batcher: Batcher,
        *,
        metrics: VersionMetrics,
        statistics: Statistics,
        number: int,
    ) -> None:
        self._identity = identity
        self._session = session
        self._batcher = batcher
        self._metrics = metrics
        self._statistics = statistics
        name = f"{identity.model}/{identity.version}#{number}"
        # A daemon, so that a runtime which hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until the thread has ended; tell whether it has."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Free the session. The thread must have ended."""
        self._session.close()

    def _serve(self) -> None:
        while (batch := self._batcher.take()) is not None:
            # From here on an entry cannot be cancelled; one that was cancelled just now is left out.
            entries = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if entries:
                self._answer(entries)
            # Neither inputs nor answers may live on in this frame while the thread waits for the next batch.
            del batch, entries

    def _answer(self, entries: list[Entry]) -> None:
        """Run one batch and resolve every entry's future, with its answer or with InferenceFailed."""
        taken = time.monotonic()
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
            log.error(
                "event=inference_failed model=%s version=%d rows=%d error=%r",
                self._identity.model, self._identity.version, rows, error,
            )  # fmt: skip
            self._statistics.failed(time.monotonic() - taken, times=len(entries))
            for entry in entries:
                entry.future.set_exception(InferenceFailed("the model could not compute this batch"))
            return
        now = time.monotonic()
        timings = [Timings(taken - entry.queued, joined - taken, ran - joined, now - ran, entry.queued) for entry in entries]
        self._statistics.batch(rows, timings)
        for entry, part, stages in zip(entries, parts, timings, strict=True):
            entry.future.set_result(self._response(entry, part, stages))
        self._batcher.finished(rows, now - taken)
        self._metrics.batch_rows.observe(rows)
        self._metrics.compute_seconds.observe(ran - joined)
        for entry in entries:
            self._metrics.queue_seconds.observe(taken - entry.queued)

    def _response(self, entry: Entry, outputs: Tensors, timings: Timings) -> InferResponse:
        request, identity = entry.request, self._identity
        wanted = request.outputs
        selected = outputs if wanted is None else {name: outputs[name] for name in wanted}
        return InferResponse(identity.model, identity.version, identity.digest, selected, request.id, timings, entry.rows)
