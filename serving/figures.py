"""What one block of counters means: which of its numbers counts what, and how the figures of several processes add up."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from serving.block_bytes import NUMBERS
from serving.errors import all_errors

#: Seconds, from a lone small model (100 µs) to the default timeout (10 s), about 2.2 × apart.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

#: How a request can end: answered, or with one of the errors.
OK = "ok"
_OUTCOMES = {OK: OK, **{error.code: error("").outcome for error in all_errors()}}
ENDS = tuple(_OUTCOMES)
_PLACE = {end: place for place, end in enumerate(ENDS)}


def outcome_of(end: str) -> str:
    """Return the metrics' word for an end: ok, refused, failed or cancelled."""
    return _OUTCOMES[end]


class Histogram:
    """Where a histogram lies: one number for each bucket, one for what is above, and the sum."""

    __slots__ = ("bounds", "start", "stop", "sum")

    def __init__(self, start: int, bounds: tuple[float, ...]) -> None:
        self.start = start
        self.bounds = bounds
        self.sum = start + len(bounds) + 1
        #: The first number behind it.
        self.stop = self.sum + 1

    def observe(self, numbers: "memoryview[float]", value: float) -> None:
        """Count one value."""
        numbers[self.start + bisect_left(self.bounds, value)] += 1.0
        numbers[self.sum] += value

    def read(self, numbers: Sequence[float]) -> "Distribution":
        """Return what was observed."""
        return Distribution(self.bounds, tuple(numbers[self.start : self.sum]), numbers[self.sum])


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts per bucket, not cumulative; the last one is of what lies above every bound."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(sum(self.counts))

    def __add__(self, other: "Distribution") -> "Distribution":
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Distribution(self.bounds, counts, self.sum + other.sum)


@dataclass(slots=True)
class Size:
    """The batches of one size: how many there were, and the seconds their stages took."""

    batches: int = 0
    join: float = 0.0
    run: float = 0.0
    split: float = 0.0


class Layout:
    """The numbers of a block, in their order. Seconds where nothing else is said."""

    ENDED = 0
    #: The same of versions that are not served any more, in the block of their model.
    RETIRED = ENDED + len(ENDS)
    REQUEST = Histogram(RETIRED + len(ENDS), SECONDS)
    QUEUE = Histogram(REQUEST.stop, SECONDS)
    COMPUTE = Histogram(QUEUE.stop, SECONDS)
    BATCH_ROWS = Histogram(COMPUTE.stop, ROWS)
    #: Of every request that was in a batch: what the stages of its batch took.
    JOIN, RUN, SPLIT = range(BATCH_ROWS.stop, BATCH_ROWS.stop + 3)
    #: Of requests that failed: how long they took.
    FAILED = SPLIT + 1
    #: The last batch's end, in ms since 1970.
    LAST = FAILED + 1
    #: Gauges: what is there now, of this process.
    QUEUED_ROWS = LAST + 1
    IN_FLIGHT = QUEUED_ROWS + 1
    #: Of the server: lines of the access log that could not be written.
    DROPPED = IN_FLIGHT + 1
    #: Of a model: how often it could not be loaded as it lies on the disk.
    LOAD_FAILURES = DROPPED + 1
    #: Entries of five: rows of a batch, how many such batches, join, run, split. Of the sizes that come first.
    SIZES = LOAD_FAILURES + 1
    SIZE_NUMBERS: ClassVar = 5
    MOST_SIZES: ClassVar = (NUMBERS - SIZES) // SIZE_NUMBERS

    @staticmethod
    def ended(end: str) -> int:
        """Return where requests with such an end are counted."""
        return _PLACE[end]


@dataclass(slots=True)
class Figures:
    """The figures of one version, or of one model's requests that no served version has, over any number of processes."""

    ended: Counter[str] = field(default_factory=Counter)
    retired: Counter[str] = field(default_factory=Counter)
    request: Distribution = Distribution(SECONDS, (0.0,) * (len(SECONDS) + 1), 0.0)
    queue: Distribution = Distribution(SECONDS, (0.0,) * (len(SECONDS) + 1), 0.0)
    compute: Distribution = Distribution(SECONDS, (0.0,) * (len(SECONDS) + 1), 0.0)
    batch_rows: Distribution = Distribution(ROWS, (0.0,) * (len(ROWS) + 1), 0.0)
    join: float = 0.0
    run: float = 0.0
    split: float = 0.0
    failed: float = 0.0
    last: int = 0
    queued_rows: int = 0
    in_flight: int = 0
    dropped: int = 0
    load_failures: int = 0
    sizes: dict[int, Size] = field(default_factory=dict)

    def add(self, numbers: Sequence[float], *, live: bool) -> None:
        """Add what one process has counted; what was there at a moment counts only while the process is."""
        for place, end in enumerate(ENDS):
            for counts, start in ((self.ended, Layout.ENDED), (self.retired, Layout.RETIRED)):
                if numbers[start + place]:
                    counts[end] += int(numbers[start + place])
        self.request += Layout.REQUEST.read(numbers)
        self.queue += Layout.QUEUE.read(numbers)
        self.compute += Layout.COMPUTE.read(numbers)
        self.batch_rows += Layout.BATCH_ROWS.read(numbers)
        self.join += numbers[Layout.JOIN]
        self.run += numbers[Layout.RUN]
        self.split += numbers[Layout.SPLIT]
        self.failed += numbers[Layout.FAILED]
        self.dropped += int(numbers[Layout.DROPPED])
        self.load_failures += int(numbers[Layout.LOAD_FAILURES])
        self.last = max(self.last, int(numbers[Layout.LAST]))
        if live:
            self.queued_rows += int(numbers[Layout.QUEUED_ROWS])
            self.in_flight += int(numbers[Layout.IN_FLIGHT])
        for entry in range(Layout.SIZES, Layout.SIZES + Layout.MOST_SIZES * Layout.SIZE_NUMBERS, Layout.SIZE_NUMBERS):
            rows, batches, join, run, split = numbers[entry : entry + Layout.SIZE_NUMBERS]
            if not rows:
                break
            size = self.sizes.setdefault(int(rows), Size())
            size.batches += int(batches)
            size.join += join
            size.run += run
            size.split += split
