"""An instance whose session takes the next batch while it computes one: a device that works beside the processor.

The next batch is begun early only where it is full already. One that is not gains nothing by waiting on the device instead
of here, where it still finds company.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from dataclasses import dataclass

from models.tensors import Tensors
from serving.backends.base import PipelinedSession
from serving.engine.batch import check_outputs, join, split
from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.engine.instance import Identity, Instance
from serving.errors import ServingError
from serving.metrics import Series
from serving.request import InferResponse


@dataclass(slots=True)
class _UnderWay:
    """A batch that has begun. Times are monotonic."""

    entries: list[Entry]
    rows: int
    taken: float
    joined: float


class PipelinedInstance(Instance):
    """Serves batches as an Instance does, two of them at a time where there are so many. No other thread may help it."""

    def __init__(
        self, identity: Identity, session: PipelinedSession, batcher: Batcher, *, series: Series, number: int
    ) -> None:
        super().__init__(identity, session, batcher, series=series, number=number)
        self._pipeline = session
        self._under_way: deque[_UnderWay] = deque()
        #: When the last batch ended: the device was busy with that one until then.
        self._ended = 0.0

    def try_serve(self) -> bool | None:
        """Serve nothing: what another thread would do here this one's device does."""
        return None

    def try_run(self, inputs: Sequence[Tensors], rows: Sequence[int], *, queued: float) -> list[InferResponse] | None:
        """Run nothing."""
        return None

    def runs_for(self, now: float) -> float:
        """Return for how many seconds the oldest batch has run, 0 if there is none."""
        oldest = next(iter(self._under_way), None)
        return super().runs_for(now) if oldest is None else now - max(oldest.taken, self._ended)

    def abandon(self, error: ServingError) -> None:
        """Answer every batch under way with an error."""
        super().abandon(error)
        for batch in list(self._under_way):
            for entry in batch.entries:
                with contextlib.suppress(InvalidStateError):
                    entry.future.set_exception(error)

    def _serve(self) -> None:
        while True:
            batch = self._batcher.take_full() if self._under_way else self._batcher.take()
            if batch is None:
                return
            with self._in_use:
                if entries := [entry for entry in batch if entry.future.set_running_or_notify_cancel()]:
                    self._begin(entries)
                if not batch or len(self._under_way) == self._pipeline.depth:
                    self._end()
            del batch, entries

    def _begin(self, entries: list[Entry]) -> None:
        """Send a batch on its way. One that cannot begin is tried once more on its own, where its failure is looked into."""
        taken = time.monotonic()
        rows = sum(entry.rows for entry in entries)
        try:
            inputs = join([entry.request.inputs for entry in entries], rows, self._pipeline.allocate)
            joined = time.monotonic()
            self._pipeline.begin(inputs)
        except BaseException:  # noqa: BLE001 - a runtime may raise anything, and `_answer` says what
            self._end_all()
            self._alone(entries)
            return
        self._under_way.append(_UnderWay(entries, rows, taken, joined))

    def _end(self) -> None:
        """Answer the oldest batch."""
        if not self._under_way:
            return
        batch = self._under_way[0]
        began = max(batch.joined, self._ended)
        try:
            outputs = self._pipeline.end()
            ran = time.monotonic()
            check_outputs(self._identity.signature, outputs, batch.rows)
            parts = list(split(outputs, [entry.rows for entry in batch.entries]))
        except BaseException:  # noqa: BLE001 - as above
            self._under_way.popleft()
            self._ended = time.monotonic()
            self._end_all()
            self._alone(batch.entries)
            return
        self._under_way.popleft()
        self._ended = ran
        with contextlib.suppress(InvalidStateError):  # the batch hung, and was abandoned
            self._tell(batch.entries, parts, rows=batch.rows, taken=batch.taken, joined=batch.joined, began=began, ran=ran)
        self._batcher.finished(batch.rows, time.monotonic() - max(batch.taken, began))

    def _end_all(self) -> None:
        while self._under_way:
            self._end()

    def _alone(self, entries: list[Entry]) -> None:
        """Run a batch that failed, with nothing else under way: whoever is to blame fails alone."""
        with contextlib.suppress(InvalidStateError):
            self._answer(entries)
        self._running = None
