"""The server's own figures during a load: `/metrics`, read twice a second by a thread of the command, not of the generator.

From the difference of two readings come batch sizes and processor time, from all of them queue depth over time. A server
without such metrics is tested all the same; the report then says that there were none.
"""

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from loadtests.said import words
from loadtests.server import FACTS_BYTES, CannotRun, NoAnswer, Server

_EVERY_SECONDS = 0.5

#: A page of metrics that takes longer is left out: the server has other things to do.
_PATIENCE_SECONDS = 5.0

#: What is used of them; nothing else is kept, and of these not more series than a server of many models has.
_USED = (
    "sameway_batch_rows", "sameway_compute_seconds", "sameway_queue_rows", "sameway_in_flight", "sameway_model_info",
    "process_cpu_seconds", "process_resident_memory_bytes",
)  # fmt: skip
_MOST_SERIES = 1000

#: Readings that are kept, of a load of hours too: where there are more, every other one goes.
_MOST_READINGS = 1000

#: Versions of a model that are told of.
_MOST_INFOS = 10

#: More than any counter or gauge of these can be.
_HIGHEST = 1e18

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """All values at one moment, by name and labels."""

    at: float
    values: dict[tuple[str, Labels], float]

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of the series that have these labels; None where there is none."""
        wanted = labels.items()
        found = [value for (series, own), value in self.values.items() if series == name and wanted <= dict(own).items()]
        return sum(found) if found else None


@dataclass(slots=True)
class Readings:
    """What was read, in order, and why nothing was where there is nothing."""

    taken: list[Reading] = field(default_factory=list)
    missing: str | None = None

    def batches(self, model: str, first: Reading, last: Reading) -> dict[str, int]:
        """Return how many batches had up to so many rows, of those between two readings."""
        bounds: dict[str, float] = {}
        for (name, labels), value in last.values.items():
            own = dict(labels)
            if name == "sameway_batch_rows_bucket" and own.get("model") == model and _is_bound(own.get("le", "")):
                bounds[own["le"]] = bounds.get(own["le"], 0.0) + value - first.values.get((name, labels), 0.0)
        found, below = {}, 0.0
        for bound in sorted(bounds, key=float):
            if bounds[bound] > below:
                found[bound.removesuffix(".0")] = round(bounds[bound] - below)
            below = bounds[bound]
        return found

    def to_json(self, models: list[str], start: float, end: float) -> dict[str, Any]:
        """Return what a report says of the server between two moments. Any: JSON."""
        if self.missing is not None or len(self.taken) < 2:
            return {"missing": self.missing or "the load was too short to read them twice"}
        first = next((reading for reading in reversed(self.taken) if reading.at <= start), self.taken[0])
        last = next((reading for reading in self.taken if reading.at >= end), self.taken[-1])
        seconds = max(1e-9, last.at - first.at)

        def grown(name: str, **labels: str) -> float | None:
            before, after = first.total(name, **labels), last.total(name, **labels)
            # A counter that fell is another process's, or no counter: nothing is known of what was between.
            return None if after is None or after < (before or 0.0) else after - (before or 0.0)

        cpu = grown("process_cpu_seconds_total")
        found: dict[str, Any] = {
            "cores": None if cpu is None else round(cpu / seconds, 3),
            "memory_bytes": last.total("process_resident_memory_bytes"),
            "queue": [
                [round(one.at - start, 2), one.total("sameway_queue_rows") or 0]
                for one in self.taken
                if start <= one.at <= end
            ],
            "in_flight": [
                [round(one.at - start, 2), one.total("sameway_in_flight") or 0]
                for one in self.taken
                if start <= one.at <= end
            ],
            "models": {},
        }
        for model in models:
            batches, rows = grown("sameway_batch_rows_count", model=model), grown("sameway_batch_rows_sum", model=model)
            computed = grown("sameway_compute_seconds_sum", model=model)
            found["models"][model] = {
                "batches": batches,
                "mean_rows": round(rows / batches, 2) if batches and rows is not None else None,
                "batch_rows": self.batches(model, first, last),
                "compute_ms_per_batch": round(computed / batches * 1000, 3) if batches and computed is not None else None,
                "info": self._info(model),
            }
        return found

    def _info(self, model: str) -> list[dict[str, str]]:
        """Return what the server says of each version it serves: format, digest, whether a manifest vouches for it."""
        last = self.taken[-1].values
        infos = [labels for (name, labels) in last if name == "sameway_model_info" and ("model", model) in labels]
        told = [{key: words(value, 100) for key, value in labels} for labels in infos[:_MOST_INFOS]]
        return [info for info in told if {"version", "format", "digest"} <= set(info)]


@contextlib.contextmanager
def watching(server: Server) -> Iterator[Readings]:
    """Read the metrics at once, every half second, and once more when the block ends."""
    readings, enough = Readings(), threading.Event()
    asked = replace(server, patience_seconds=min(server.patience_seconds, _PATIENCE_SECONDS))

    def read_on() -> None:
        while not enough.wait(_EVERY_SECONDS):
            _read(asked, readings)

    _read(asked, readings)
    thread = threading.Thread(target=read_on, daemon=True)
    if readings.missing is None:
        thread.start()
    try:
        yield readings
    finally:
        enough.set()
        if thread.is_alive():
            thread.join(2 * asked.patience_seconds)
        if readings.missing is None:
            _read(asked, readings)


def _read(server: Server, readings: Readings) -> None:
    """Add a reading; what is no answer once there have been some is left out: the server has other things to do."""
    try:
        answer = server.ask("/metrics", most=FACTS_BYTES)
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        values = parse(answer.body.decode())
    except (NoAnswer, ValueError, CannotRun) as error:
        if not readings.taken:
            readings.missing = f"/metrics: {words(str(error))}"
        return
    if len(readings.taken) >= _MOST_READINGS:
        del readings.taken[1::2]
    readings.taken.append(Reading(time.time(), values))


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """Return the samples that are used, of Prometheus' text format; raise ValueError for anything else.

    Values that no counter and no gauge can have are left out: NaN, infinities, those below 0.
    """
    lines = [line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(_USED)]
    if len(lines) > _MOST_SERIES:
        raise ValueError(f"expected up to {_MOST_SERIES:,} series of this project's metrics, found {len(lines):,}")
    try:
        samples = [one for family in text_string_to_metric_families("\n".join(lines)) for one in family.samples]
        found = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for sample in samples
            if 0 <= sample.value <= _HIGHEST
        }
    except Exception as error:  # whatever the parser of a library makes of garbage
        raise ValueError(f"expected Prometheus' text format, found something else: {words(repr(error))}") from error
    if not found:
        raise ValueError("none of this project's metrics are there")
    return found


def _is_bound(text: str) -> bool:
    """Tell whether a text is the upper bound of a bucket: a number, or +Inf."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
