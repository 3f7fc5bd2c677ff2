"""What a served version has done since it was opened, as the protocol's statistics extension counts it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.request import Timings


@dataclass(slots=True)
class Duration:
    """How often something happened, and how many nanoseconds it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """Add so many occurrences that together took so long."""
        self.count += times
        self.ns += round(seconds * 1e9)

    def copy(self) -> "Duration":
        """Return the present figures."""
        return Duration(self.count, self.ns)


@dataclass(slots=True)
class BatchStatistics:
    """The batches of one size: the extension's compute_input, compute_infer and compute_output."""

    join: Duration = field(default_factory=Duration)
    run: Duration = field(default_factory=Duration)
    split: Duration = field(default_factory=Duration)


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """A snapshot. `inference_count` counts rows, `execution_count` batches; `last_inference` is in ms since 1970."""

    model: str
    version: int
    last_inference: int
    inference_count: int
    execution_count: int
    durations: Mapping[str, Duration]
    batches: Mapping[int, BatchStatistics]


class Statistics:
    """Counts what one version does. Thread-safe; a batch costs one lock."""

    #: The stages of a request, in the order in which the extension names them.
    STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._rows = 0
        self._executions = 0
        self._durations = {stage: Duration() for stage in self.STAGES}
        self._batches: dict[int, BatchStatistics] = {}

    def batch(self, rows: int, timings: Sequence[Timings]) -> None:
        """Count one batch of so many rows, given what each of its requests took."""
        with self._lock:
            self._last = time.time_ns() // 1_000_000
            self._rows += rows
            self._executions += 1
            total = self._durations
            for taken in timings:
                total["success"].add(taken.queue + taken.join + taken.run + taken.split)
                total["queue"].add(taken.queue)
                total["compute_input"].add(taken.join)
                total["compute_infer"].add(taken.run)
                total["compute_output"].add(taken.split)
            size = self._batches.setdefault(rows, BatchStatistics())
            size.join.add(timings[0].join)
            size.run.add(timings[0].run)
            size.split.add(timings[0].split)

    def failed(self, seconds: float, times: int = 1) -> None:
        """Count requests that were accepted and got an error instead of an answer."""
        with self._lock:
            self._durations["fail"].add(seconds, times)

    def snapshot(self, model: str, version: int) -> ModelStatistics:
        """Return the present figures."""
        with self._lock:
            batches = {
                size: BatchStatistics(one.join.copy(), one.run.copy(), one.split.copy())
                for size, one in sorted(self._batches.items())
            }
            durations = {stage: duration.copy() for stage, duration in self._durations.items()}
            return ModelStatistics(model, version, self._last, self._rows, self._executions, durations, batches)
