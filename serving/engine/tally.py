"""The metrics of a replica: what its batches were, until somebody who is asked for figures takes over the count."""

from collections import deque
from collections.abc import Sequence

from serving.counters import Block
from serving.engine.parcels import Batch
from serving.metrics import Metrics, Series


class Tally(Series):
    """Counts as any series does, and remembers each batch until it is taken."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self._batches: deque[Batch] = deque()

    def batch(self, rows: int, queued: Sequence[float], *, join: float, run: float, split: float) -> None:
        """Count one batch of so many rows, given how long each of its requests had waited."""
        super().batch(rows, queued, join=join, run=run, split=split)
        self._batches.append((rows, list(queued), join, run, split))

    def take(self) -> list[Batch]:
        """Return the batches that nobody has taken yet."""
        taken: list[Batch] = []
        while self._batches:
            taken.append(self._batches.popleft())
        return taken


class Tallies(Metrics):
    """Metrics of which another process counts what this one has run."""

    def take(self, model: str, version: int) -> list[Batch]:
        """Return the batches of a version that nobody has taken yet."""
        series = self.of_version(model, version)
        return series.take() if isinstance(series, Tally) else []

    def _new(self, block: Block) -> Series:
        return Tally(block)
