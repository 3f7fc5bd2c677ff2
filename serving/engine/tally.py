"""The metrics of a replica: what its batches were, until somebody who is asked for figures takes over the count."""

import threading
from collections import deque
from collections.abc import Sequence

from serving.counters import Block
from serving.engine.parcels import Batch
from serving.metrics import Metrics, Series


class Tally(Series):
    """Remembers each batch of a version until it is taken, and counts nothing: nobody asks here for figures."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self._batches: deque[Batch] = deque()

    def batch(self, rows: int, queued: Sequence[float], *, join: float, run: float, split: float) -> None:
        """Remember one batch of so many rows, given how long each of its requests had waited."""
        self._batches.append((rows, list(queued), join, run, split))

    def take(self) -> list[Batch]:
        """Return the batches that nobody has taken yet."""
        taken: list[Batch] = []
        while self._batches:
            taken.append(self._batches.popleft())
        return taken


class Tallies(Metrics):
    """Metrics of which another process counts what this one has run.

    As replicas open versions, and close them, as long as they live, a version has no block of its own: there are so many
    only. What stays of it is an empty queue.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shared = self._region.block({"model": "", "version": "shared"})
        self._tallies: dict[tuple[str, int], Tally] = {}
        self._tallying = threading.Lock()

    def of_version(self, model: str, version: int) -> Tally:
        """Return what remembers the batches of one version."""
        with self._tallying:
            return self._tallies.setdefault((model, version), Tally(self._shared))

    def take(self, model: str, version: int) -> list[Batch]:
        """Return the batches of a version that nobody has taken yet."""
        return self.of_version(model, version).take()
