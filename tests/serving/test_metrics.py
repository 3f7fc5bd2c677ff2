import re
import socket
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from serving.child import WORKER, Child
from serving.counters import Counters
from serving.engine.door import Door
from serving.engine.link import Link
from serving.errors import InferenceFailed, Overloaded
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


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def used() -> Metrics:
    """Return metrics in which every series has been used once."""
    metrics = Metrics()
    version = metrics.of_version("toy", 1)
    version.watch_queue(lambda: 5)
    version.tell(format="onnx", digest="d" * 64, verified=True, state="READY")
    version.batch(3, [0.001, 0.002], join=0.1, run=0.2, split=0.3)
    metrics.begin()
    metrics.end("toy", 1, None, 0.5)
    metrics.of_version("toy", 2)
    metrics.begin()
    metrics.end("toy", 2, InferenceFailed("no"), 0.1)
    metrics.retire("toy", 2)
    return metrics


def test_the_queue_s_gauge_reads_the_rows_when_it_is_scraped() -> None:
    metrics = Metrics()
    waiting = 3
    version = metrics.of_version("toy", 1)
    version.watch_queue(lambda: waiting)
    version.tell(format="onnx", digest="d", verified=True)
    for waiting in (3, 4):
        assert re.search(rb'sameway_queue_rows\{model="toy",version="1"\} %d\.0' % waiting, metrics.exposition())


def test_two_servers_in_one_process_share_no_series() -> None:
    first, second = Metrics(), Metrics()
    first.of_version("toy", 1)
    first.end("toy", 1, None, 0.1)
    labels = {"model": "toy", "version": "1", "outcome": "ok", "reason": ""}
    assert value(first, "sameway_requests_total", **labels) == 1
    assert value(second, "sameway_requests_total", **labels) is None


def test_buckets_go_from_a_lone_small_model_to_the_default_timeout() -> None:
    text = used().exposition().decode()
    bounds = re.findall(r'sameway_request_seconds_bucket\{le="([^"]+)"', text)
    assert (float(bounds[0]), float(bounds[-2]), bounds[-1]) == (0.0001, 10.0, "+Inf")


def test_the_process_s_own_memory_and_time_are_exposed() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= shown(Metrics()).keys()


def test_every_end_of_a_served_version_s_requests_is_there_before_it_comes() -> None:
    metrics = Metrics()
    metrics.of_version("toy", 1).tell(format="onnx", digest="d", verified=True)
    failed = {"outcome": "failed", "reason": "inference_failed"}
    assert value(metrics, "sameway_requests_total", model="toy", version="1", **failed) == 0
    assert value(metrics, "sameway_requests_total", model="", version="", outcome="refused", reason="model_not_found") == 0


def test_a_model_without_a_version_has_a_state_until_it_has_one() -> None:
    metrics = Metrics()
    metrics.tell("toy", None, state="UNAVAILABLE", reason="config.toml: expected TOML")
    labels = {"model": "toy", "state": "unavailable"}
    assert value(metrics, "sameway_model_state", **labels, version="") == 1
    metrics.tell("toy", None, state=None)
    metrics.tell("toy", 1, state="READY")
    assert value(metrics, "sameway_model_state", **labels, version="") is None


_BUSY = """
import sys, time
from serving.counters import Counters
Counters(descriptor=int(sys.argv[1])).region(1)
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
print("busy", flush=True)
sys.stdin.read()
"""


def test_the_processor_time_of_a_process_that_ended_stays_in_the_sum() -> None:
    shared = Counters.shared(2)
    assert shared.descriptor is not None
    metrics = Metrics(shared, region=0)
    process = subprocess.Popen(
        [sys.executable, "-c", _BUSY, str(shared.descriptor)],
        cwd=ROOT, pass_fds=[shared.descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    ours, theirs = socket.socketpair()
    door, their_door = Door.pair()
    child = Child(WORKER, 1, process, link=Link(ours), door=door)
    assert process.stdout is not None
    process.stdout.readline()
    before = value(metrics, "process_cpu_seconds_total")
    process.kill()
    seconds = child.wait()
    shared.leave(1, cpu_seconds=seconds)
    shared.replace(1)
    after = value(metrics, "process_cpu_seconds_total")
    assert seconds >= 0.3
    assert before is not None
    assert after is not None
    assert after >= before
    assert value(metrics, "sameway_processes_replaced_total") == 1
    process.communicate()
    child.close()
    theirs.close()
    their_door.close()


def test_a_version_that_is_freed_leaves_no_series_and_its_requests_stay_in_the_total() -> None:
    metrics = used()
    text = metrics.exposition().decode()
    assert 'version="2"' not in text
    assert value(metrics, "sameway_requests_retired_total", model="toy", outcome="failed", reason="inference_failed") == 1
    # A request of it that ends after that is not lost either, and counts nothing for whoever has the place now.
    metrics.begin()
    metrics.end("toy", 2, None, 0.1)
    assert value(metrics, "sameway_requests_retired_total", model="toy", outcome="ok", reason="") == 1
    assert value(metrics, "sameway_in_flight") == 0


def test_whoever_still_counts_for_a_freed_version_counts_for_nobody_else() -> None:
    metrics = Metrics()
    old = metrics.of_version("toy", 1)
    metrics.retire("toy", 1)
    new = metrics.of_version("toy", 2)  # has the memory of the old one
    new.tell(format="onnx", digest="d", verified=True)
    old.batch(8, [1.0], join=1, run=1, split=1)
    assert value(metrics, "sameway_batch_rows_count", model="toy", version="2") == 0


def test_ten_thousand_names_of_strangers_make_no_series_and_a_model_has_fewer_than_200() -> None:
    metrics = used()
    for _ in range(10_000):
        metrics.begin()
        metrics.end("", None, Overloaded("full"), 0.1)
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith("sameway_")]
    assert len(lines) < 200


_WORKER = """
import sys
from serving.counters import Counters
from serving.metrics import Metrics
metrics = Metrics(Counters(descriptor=int(sys.argv[1])), region=1)
version = metrics.of_version("toy", 1)
version.tell(format="onnx", digest="d", verified=True, state="READY")
metrics.begin()
metrics.end("toy", 1, None, 0.25)
metrics.begin()
version.batch(4, [0.1, 0.1], join=0, run=0.5, split=0)
metrics.publish()
"""


def test_processes_count_together_and_what_one_has_counted_outlives_it() -> None:
    shared = Counters.shared(2)
    assert shared.descriptor is not None
    metrics = Metrics(shared, region=0)
    version = metrics.of_version("toy", 1)
    version.tell(format="onnx", digest="d", verified=True, state="READY")
    metrics.begin()
    metrics.end("toy", 1, None, 0.25)
    version.batch(4, [0.1], join=0, run=0.5, split=0)
    for generation in (1, 2):
        words = [sys.executable, "-c", _WORKER, str(shared.descriptor)]
        subprocess.run(words, cwd=ROOT, pass_fds=[shared.descriptor], check=True)
        labels = {"model": "toy", "version": "1"}
        assert value(metrics, "sameway_requests_total", **labels, outcome="ok", reason="") == 1 + generation
        assert value(metrics, "sameway_request_seconds_count", **labels) == 1 + generation
        assert value(metrics, "sameway_batch_rows_sum", **labels) == 4 + 4 * generation
        figures = metrics.figures()["toy", "1"]
        assert figures.sizes[4].batches == 1 + generation
        assert value(metrics, "sameway_model_state", **labels, state="ready") == 2
        shared.leave(1)
        # It was killed with a request in flight, and its successor begins with none.
        assert value(metrics, "sameway_in_flight") == 0
        assert value(metrics, "sameway_model_state", **labels, state="ready") == 1


def test_what_a_process_leaves_and_its_successor_does_not_serve_is_retired() -> None:
    shared = Counters(1)
    before = Metrics(shared)
    for number in (1, 2):
        before.of_version("toy", number)
        before.end("toy", number, None, 0.1)
    after = Metrics(shared)
    after.keep({("toy", 2), ("toy", None)})
    assert value(after, "sameway_requests_total", model="toy", version="1", outcome="ok", reason="") is None
    assert value(after, "sameway_requests_total", model="toy", version="2", outcome="ok", reason="") == 1
    assert value(after, "sameway_requests_retired_total", model="toy", outcome="ok", reason="") == 1
