"""Every metric, with its name, labels and buckets.

Label values come from the repository, never from a client: a request for a model that is not there counts under an
empty name. What every batch counts is resolved once, when its version loads.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

#: Seconds, from a lone small model (100 µs) to the default timeout (10 s), about 2.2 × apart.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All series of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        served = ("model", "version")
        self.requests = Counter(
            "sameway_requests",
            "Requests for inference by how they ended: ok, refused, failed or cancelled, and why.",
            (*served, "outcome", "reason"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "sameway_request_seconds",
            "From the last byte of a request to the first of its answer.",
            served,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "sameway_queue_seconds",
            "Time a request waited for an instance.",
            served,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.compute_seconds = Histogram(
            "sameway_compute_seconds",
            "Time one batch ran in its session.",
            served,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "sameway_batch_rows", "Rows in one batch.", served, buckets=_ROWS, registry=self.registry
        )
        self.queue_rows = Gauge("sameway_queue_rows", "Rows waiting for an instance.", served, registry=self.registry)
        self.in_flight = Gauge("sameway_in_flight", "Requests accepted and not yet answered.", registry=self.registry)
        self.model_state = Gauge(
            "sameway_model_state",
            "1 for the state a version is in.",
            (*served, "state"),
            registry=self.registry,
        )
        self.model_info = Gauge(
            "sameway_model_info",
            "1 for each version served, with what it is.",
            (*served, "format", "digest", "verified"),
            registry=self.registry,
        )

    def of_version(self, model: str, version: int) -> "VersionMetrics":
        """Return the children of one version, resolved."""
        return VersionMetrics(self, model, version)

    def count(self, model: str, version: str, *, outcome: str, reason: str = "") -> None:
        """Count one request that has ended."""
        self.requests.labels(model, version, outcome, reason).inc()

    def exposition(self) -> bytes:
        """Return all series in the Prometheus text format."""
        return generate_latest(self.registry)


class VersionMetrics:
    """The series of one version of one model."""

    def __init__(self, metrics: Metrics, model: str, version: int) -> None:
        labels = (model, str(version))
        self._metrics = metrics
        self._labels = labels
        self.queue_seconds = metrics.queue_seconds.labels(*labels)
        self.compute_seconds = metrics.compute_seconds.labels(*labels)
        self.batch_rows = metrics.batch_rows.labels(*labels)

    def watch_queue(self, rows: Callable[[], int]) -> None:
        """Let the queue's gauge read the rows waiting whenever it is scraped."""
        self._metrics.queue_rows.labels(*self._labels).set_function(rows)

    def info(self, *, format: str, digest: str, verified: bool) -> None:
        """Say what this version is."""
        self._metrics.model_info.labels(*self._labels, format, digest, "true" if verified else "false").set(1)
