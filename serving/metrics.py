"""Every metric, with its name and labels: counted in shared memory, told to Prometheus for all processes together.

Label values come from the repository, never from a client: a request for a model that is not there counts under an
empty name. The series of a version that is freed go with it; how its requests ended stays, by model.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from serving.block_bytes import Facts
from serving.counters import Block, Counters, OutOfBlocks
from serving.errors import ServingError
from serving.exposition import Exposition, Processes
from serving.figures import ENDS, OK, Figures, Layout
from serving.readings import Key, Readings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Looked up once, as they are on the path of every request.
_REQUEST, _QUEUE, _COMPUTE, _BATCH_ROWS = Layout.REQUEST, Layout.QUEUE, Layout.COMPUTE, Layout.BATCH_ROWS

_ANSWERED = Layout.ended(OK)

#: Where a block counts how requests ended: those of its own, and those of versions before.
_ENDED = (Layout.ENDED, Layout.RETIRED)


class Metrics:
    """The figures of one server. This process counts into one region of the counters, and reads all of them."""

    def __init__(self, counters: Counters | None = None, *, region: int = 0, more: Iterable[Collector] = ()) -> None:
        self.counters = counters or Counters()
        #: That of the region of the counters that this process writes.
        self.number = region
        self._readings = Readings(self.counters)
        self._region = self.counters.region(region)
        self._lock = threading.Lock()
        self._series: dict[Key, Series] = {}
        for block in self._region.inherited():
            key = (block.facts["model"], block.facts["version"])
            block.numbers[Layout.QUEUED_ROWS] = block.numbers[Layout.IN_FLIGHT] = 0.0
            self._series[key] = self._new(block)
        self._server = self._of("", "")
        self.registry = CollectorRegistry()
        for collector in (Exposition(self._readings, self.publish), Processes(self.counters), *more):
            self.registry.register(collector)

    def of_version(self, model: str, version: int) -> "Series":
        """Return what counts for one version; raise OutOfBlocks."""
        return self._of(model, str(version))

    def tell(self, model: str, version: int | None, **facts: object) -> None:
        """Say what a version is, or what state it is in, or (None) a model without one: facts for the index and for info."""
        with contextlib.suppress(OutOfBlocks):  # it is served all the same, or not; only nobody else learns of it
            self._of(model, "" if version is None else str(version)).tell(**facts)

    def begin(self, count: int = 1) -> None:
        """Count requests for inference that are in flight from now on."""
        self._server.change(Layout.IN_FLIGHT, float(count))

    def answered(self, model: str, version: int, seconds: Sequence[float]) -> None:
        """Count requests for inference that have ended with an answer, given how long each took."""
        series = self._series.get((model, str(version)))
        if series is not None and series.answered(seconds):
            self._server.change(Layout.IN_FLIGHT, float(-len(seconds)))
            return
        for each in seconds:
            self.end(model, version, None, each)

    def end(self, model: str, version: int | None, error: ServingError | None, seconds: float) -> None:
        """Count one request for inference that has ended: with an answer, or for an error.

        `model` is one of the repository's, or empty; `version` is None where the request met none.
        """
        self._server.change(Layout.IN_FLIGHT, -1.0)
        end = OK if error is None else error.code
        if version is not None:
            series = self._series.get((model, str(version)))
            if series is not None and series.end(end, seconds, failed=error is not None and error.outcome == "failed"):
                return
            # The version was freed while its last answers were on their way.
            self._of_model(model).change(Layout.RETIRED + Layout.ended(end), 1.0)
            return
        self._of_model(model).change(Layout.ended(end), 1.0)

    def dropped_lines(self, count: int) -> None:
        """Count lines of the access log that could not be written."""
        self._server.change(Layout.DROPPED, float(count))

    def load_failed(self, model: str) -> None:
        """Count that a model could not be loaded as it lies on the disk: all of it, or a version."""
        self._of_model(model).change(Layout.LOAD_FAILURES, 1.0)

    def retire(self, model: str, version: int) -> None:
        """Let a version's series go; how its requests ended stays with its model."""
        with self._lock:
            series = self._series.pop((model, str(version)), None)
        if series is not None:
            into = self._of_model(model)
            with self._region.moving():
                series.retire(into)

    def retire_model(self, model: str) -> None:
        """Let a model's series go that is not in the repository any more; how its requests ended stays, under no name."""
        with self._lock:
            series = self._series.pop((model, ""), None)
        if series is not None:
            with self._region.moving():
                series.retire(self._server)

    def keep(self, versions: Collection[tuple[str, int | None]]) -> None:
        """Retire every version but these: the process before this one has left them."""
        kept = {(model, str(version)) for model, version in versions if version is not None}
        for model, version in [key for key in list(self._series) if key[1] and key not in kept]:
            self.retire(model, int(version))

    def loaded(self) -> None:
        """Say that this process has loaded what it is to load."""
        self._region.loaded()

    def somebody_loads(self) -> bool:
        """Tell whether a process of this server takes connections, or soon will, and has not loaded yet."""
        return any(self.counters.is_loading(number) for number in range(self.counters.regions))

    def complete(self) -> None:
        """Say, for all processes and those after them, that the server is complete: see engine/completeness.py."""
        self._region.complete()

    def was_complete(self) -> bool:
        """Tell whether the server has ever been complete."""
        return self.counters.was_complete()

    def somebody_is_silent(self, seconds: float) -> bool:
        """Tell whether the event loop of a process that is there has not run for so long."""
        latest = time.monotonic() - seconds
        return any(
            self.counters.pid(number) and 0 < self.counters.heartbeat(number) < latest
            for number in range(self.counters.regions)
        )

    def beat(self) -> None:
        """Say that this process's event loop runs. Called on it, again and again."""
        self._region.beat(time.monotonic())
        self.publish()

    def publish(self) -> None:
        """Let everybody see this process's gauges as they are now."""
        for series in list(self._series.values()):
            series.publish()

    def figures(self) -> dict[Key, Figures]:
        """Return the figures of every version, and under an empty version those of each model, over all processes."""
        return self._readings.now().figures

    def facts(self) -> Mapping[int, Sequence[Facts]]:
        """Return what each running process says of each of its versions, by its region."""
        return self._readings.now().facts

    def exposition(self) -> bytes:
        """Return all series in the Prometheus text format."""
        return generate_latest(self.registry)

    def _of_model(self, model: str) -> "Series":
        """Return what counts for a model's requests without a version; for those of all models where there is no room."""
        try:
            return self._of(model, "")
        except OutOfBlocks:
            return self._server

    def _of(self, model: str, version: str) -> "Series":
        key = (model, version)
        with self._lock:
            if key not in self._series:
                self._series[key] = self._new(self._region.block({"model": model, "version": version}))
            return self._series[key]

    def _new(self, block: Block) -> "Series":
        """Return what counts into a block."""
        return Series(block)


class Series:
    """What this process counts for one version, or for one model. Thread-safe; freed, it counts nothing any more."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._numbers = block.numbers
        self._queued: Callable[[], int] | None = None
        self._sizes: dict[int, int] = {}
        for entry in range(Layout.MOST_SIZES):
            place = Layout.SIZES + entry * Layout.SIZE_NUMBERS
            if not (rows := self._numbers[place]):
                break
            self._sizes[int(rows)] = place

    def tell(self, **facts: object) -> None:
        """Say what this counts for."""
        self._block.tell(**facts)

    def watch_queue(self, rows: Callable[[], int]) -> None:
        """Let the queue's gauge read the rows waiting."""
        self._queued = rows

    def publish(self) -> None:
        """Let the queue's gauge say how many rows wait now."""
        if self._queued is not None:
            self.set(Layout.QUEUED_ROWS, float(self._queued()))

    def change(self, place: int, by: float) -> None:
        """Add to one number."""
        with self._block.lock:
            if not self._block.freed:
                self._numbers[place] += by

    def set(self, place: int, value: float) -> None:
        """Set one number."""
        with self._block.lock:
            if not self._block.freed:
                self._numbers[place] = value

    def end(self, end: str, seconds: float, *, failed: bool) -> bool:
        """Count how a request ended, and what it took; tell whether it could be counted here."""
        block, numbers = self._block, self._numbers
        with block.lock:
            if block.freed:
                return False
            numbers[Layout.ended(end)] += 1.0
            if end == OK:
                _REQUEST.observe(numbers, seconds)
            elif failed:
                numbers[Layout.FAILED] += seconds
            return True

    def answered(self, seconds: Sequence[float]) -> bool:
        """Count requests that were answered; tell whether they could be counted here."""
        block, numbers = self._block, self._numbers
        with block.lock:
            if block.freed:
                return False
            numbers[_ANSWERED] += float(len(seconds))
            observe = _REQUEST.observe
            for each in seconds:
                observe(numbers, each)
            return True

    def batch(self, rows: int, queued: Sequence[float], *, join: float, run: float, split: float) -> None:
        """Count one batch of so many rows, given how long each of its requests had waited."""
        block, numbers = self._block, self._numbers
        with block.lock:
            if block.freed:
                return
            observe = _QUEUE.observe
            for seconds in queued:
                observe(numbers, seconds)
            _COMPUTE.observe(numbers, run)
            _BATCH_ROWS.observe(numbers, float(rows))
            requests = len(queued)
            numbers[Layout.JOIN] += join * requests
            numbers[Layout.RUN] += run * requests
            numbers[Layout.SPLIT] += split * requests
            numbers[Layout.LAST] = float(time.time_ns() // 1_000_000)
            place = self._sizes.get(rows) or self._size(rows)
            if place is not None:
                numbers[place + 1] += 1.0
                numbers[place + 2] += join
                numbers[place + 3] += run
                numbers[place + 4] += split

    def retire(self, model: "Series") -> None:
        """Give how requests ended to another series, and the block back. Nobody reads meanwhile (see Region.moving)."""
        with self._block.lock:
            self._block.freed = True  # from now on whoever ends a request counts it there
            parts = [list(self._numbers[start : start + len(ENDS)]) for start in _ENDED]
        ended = [sum(counts) for counts in zip(*parts, strict=True)]
        for place, count in enumerate(ended):
            if count:
                model.change(Layout.RETIRED + place, count)
        self._block.give_back()

    def _size(self, rows: int) -> int | None:
        """Return a place for a size of batches that is new, None where there is none left."""
        if len(self._sizes) == Layout.MOST_SIZES:
            return None
        place = Layout.SIZES + len(self._sizes) * Layout.SIZE_NUMBERS
        self._sizes[rows] = place
        self._numbers[place] = float(rows)
        return place
