"""What /metrics tells: the families of all processes together, made anew for every scrape, each counter read once."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from serving.block_bytes import Facts
from serving.counters import Counters
from serving.figures import ENDS, OK, Distribution, Figures, outcome_of
from serving.readings import Key, Readings

#: The key of requests for models that are not there.
_NOBODY: Key = ("", "")

#: How often the processes are looked at anew because one of them ended meanwhile.
_TRIES = 5


class Exposition(Collector):
    """The server's own families, made anew for every scrape."""

    def __init__(self, readings: Readings, publish: Callable[[], None]) -> None:
        self._readings = readings
        self._publish = publish

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all processes together."""
        self._publish()
        now = self._readings.now()
        figures = now.figures
        histograms = (
            ("sameway_request_seconds", "From the last byte of a request to the first of its answer.", "request"),
            ("sameway_queue_seconds", "Time a request waited for an instance.", "queue"),
            ("sameway_compute_seconds", "Time one batch ran in its session.", "compute"),
            ("sameway_batch_rows", "Rows in one batch.", "batch_rows"),
        )
        infos, states, limits = _facts(now.facts)
        yield from _requests(figures, {*infos, _NOBODY})
        served = {key: one for key, one in figures.items() if key in infos}
        for name, text, field in histograms:
            family = HistogramMetricFamily(name, text, labels=("model", "version"))
            for key, one in served.items():
                distribution: Distribution = getattr(one, field)
                family.add_metric(key, _cumulative(distribution), distribution.sum)
            yield family
        queue = GaugeMetricFamily("sameway_queue_rows", "Rows waiting for an instance.", labels=("model", "version"))
        for key, one in served.items():
            queue.add_metric(key, one.queued_rows)
        yield queue
        yield limits
        in_flight = sum(one.in_flight for one in figures.values())
        yield GaugeMetricFamily("sameway_in_flight", "Requests accepted and not yet answered.", value=in_flight)
        yield CounterMetricFamily(
            "sameway_access_log_dropped",
            "Lines of the access log that could not be written.",
            value=sum(one.dropped for one in figures.values()),
        )
        failures = CounterMetricFamily(
            "sameway_load_failures",
            "Loads of a model, by one process each, that failed: what was served before is served on.",
            labels=("model",),
        )
        for model in sorted({model for model, _ in figures if model}):
            failures.add_metric((model,), sum(one.load_failures for (name, _), one in figures.items() if name == model))
        yield failures
        yield states
        info = GaugeMetricFamily(
            "sameway_model_info",
            "1 for each version served, with what it is.",
            labels=("model", "version", "format", "digest", "verified"),
        )
        for key, what in infos.items():
            info.add_metric((*key, *what), 1)
        yield info


def _facts(
    all_told: Mapping[int, Sequence[Facts]],
) -> tuple[dict[Key, tuple[str, str, str]], GaugeMetricFamily, GaugeMetricFamily]:
    """Return what each served version is, the states that versions are in, and how long their queues may get."""
    infos: dict[Key, tuple[str, str, str]] = {}
    rows: dict[Key, int] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for told in all_told.values():
        for facts in told:
            key = (facts["model"], facts["version"])
            if "digest" in facts:
                infos[key] = (facts["format"], facts["digest"], str(facts["verified"]).lower())
                rows[key] = rows.get(key, 0) + facts.get("queue_rows", 0)
            if facts.get("state"):
                state = (*key, facts["state"].lower())
                counts[state] = counts.get(state, 0) + 1
    states = GaugeMetricFamily(
        "sameway_model_state",
        "How many of the server's processes have a version, or a model that has none, in this state.",
        labels=("model", "version", "state"),
    )
    for labels, count in counts.items():
        states.add_metric(labels, count)
    limits = GaugeMetricFamily(
        "sameway_queue_limit_rows", "Rows that may wait, over all processes.", labels=("model", "version")
    )
    for key, count in rows.items():
        limits.add_metric(key, count)
    return infos, states, limits


class Processes(Collector):
    """The processes' own figures, added up: processor time, memory, open files.

    The time of processes that have ended stays in the sum, as a counter that falls is taken to have begun anew.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yield prometheus_client's families for all processes together, their connections, and how many were replaced."""
        for _ in range(_TRIES):
            before = self._counters.ended()
            found = self._running()
            if self._counters.ended() == before:
                break
        for family in found.values():
            if family.name == "process_cpu_seconds":
                family.samples = [sample._replace(value=sample.value + before[1]) for sample in family.samples]
            yield family
        numbers = range(self._counters.regions)
        yield GaugeMetricFamily(
            "sameway_connections",
            "Connections of clients that are open.",
            value=sum(self._counters.connections(number) or 0 for number in numbers),
        )
        yield GaugeMetricFamily(
            "sameway_connections_limit",
            "Connections that may be open, over all processes; others are refused with 503.",
            value=sum(self._counters.most_connections(number) for number in numbers),
        )
        yield CounterMetricFamily(
            "sameway_processes_replaced",
            "Processes of this server that ended without being told to, each of which another replaces.",
            value=self._counters.replaced(),
        )

    def _running(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for pid in self._counters.pids():
            for family in ProcessCollector(registry=CollectorRegistry(), pid=lambda pid=pid: pid).collect():  # type: ignore[misc]
                known = found.setdefault(family.name, family)
                if known is not family:
                    known.samples = [_joined(a, b) for a, b in zip(known.samples, family.samples, strict=True)]
        return found


def _joined(a: Sample, b: Sample) -> Sample:
    value = min(a.value, b.value) if a.name == "process_start_time_seconds" else a.value + b.value
    return a._replace(value=value)


def _requests(figures: Mapping[Key, Figures], whole: Collection[Key]) -> Iterator[Metric]:
    """Yield how requests ended; for some keys the ends too that have not come yet: a rate needs a zero to begin from."""
    labels = ("outcome", "reason")
    requests = CounterMetricFamily(
        "sameway_requests",
        "Requests for inference by how they ended: ok, refused, failed or cancelled, and why.",
        labels=("model", "version", *labels),
    )
    retired = CounterMetricFamily(
        "sameway_requests_retired",
        "The same of versions that are not served any more.",
        labels=("model", *labels),
    )
    for (model, version), one in figures.items():
        for end in ENDS if (model, version) in whole else one.ended:
            requests.add_metric((model, version, outcome_of(end), "" if end == OK else end), one.ended[end])
        for end, count in one.retired.items():
            retired.add_metric((model, outcome_of(end), "" if end == OK else end), count)
    yield requests
    yield retired


def _cumulative(distribution: Distribution) -> list[tuple[str, float]]:
    buckets, total = [], 0.0
    for bound, count in zip((*distribution.bounds, float("inf")), distribution.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    return buckets
