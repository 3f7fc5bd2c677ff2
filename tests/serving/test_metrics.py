import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Metrics

ROOT = Path(__file__).parents[2]


def shown(metrics: Metrics) -> dict[str, set[str]]:
    """Return every family in the exposition with the names of its labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families
    }


def used() -> Metrics:
    """Return metrics in which every series has been used once."""
    metrics = Metrics()
    version = metrics.of_version("toy", 1)
    version.watch_queue(lambda: 5)
    version.info(format="onnx", digest="d" * 64, verified=True)
    for histogram in (version.queue_seconds, version.compute_seconds, version.batch_rows):
        histogram.observe(1)
    metrics.request_seconds.labels("toy", "1").observe(1)
    metrics.count("toy", "1", outcome="ok")
    metrics.model_state.labels("toy", "1", "ready").set(1)
    return metrics


def test_every_name_and_label_in_the_documentation_exists_and_none_is_missing_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"`(sameway_\w+)(?:\{([\w,]+)\})?`", text))
    # The server turns the series with the time of their creation off; that switch is the whole process's, so not here.
    ours = {name: labels for name, labels in shown(used()).items() if name.startswith("sameway_")}
    exposed = {name: labels for name, labels in ours.items() if not name.endswith("_created")}
    assert documented.keys() == exposed.keys()
    for name, labels in documented.items():
        if labels:
            assert set(labels.split(",")) == exposed[name]


def test_the_queue_s_gauge_reads_the_rows_when_it_is_scraped() -> None:
    metrics = Metrics()
    waiting = 3
    metrics.of_version("toy", 1).watch_queue(lambda: waiting)
    labels = {"model": "toy", "version": "1"}
    assert metrics.registry.get_sample_value("sameway_queue_rows", labels) == 3
    waiting = 4
    assert metrics.registry.get_sample_value("sameway_queue_rows", labels) == 4


def test_two_servers_in_one_process_share_no_series() -> None:
    first, second = Metrics(), Metrics()
    first.count("toy", "1", outcome="ok")
    labels = {"model": "toy", "version": "1", "outcome": "ok", "reason": ""}
    assert first.registry.get_sample_value("sameway_requests_total", labels) == 1
    assert second.registry.get_sample_value("sameway_requests_total", labels) is None


def test_buckets_go_from_a_lone_small_model_to_the_default_timeout() -> None:
    text = used().exposition().decode()
    bounds = re.findall(r'sameway_request_seconds_bucket\{le="([^"]+)"', text)
    assert (float(bounds[0]), float(bounds[-2]), bounds[-1]) == (0.0001, 10.0, "+Inf")


def test_the_process_s_own_memory_and_time_are_exposed() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= shown(Metrics()).keys()
