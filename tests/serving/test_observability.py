"""docs/observability.md says what is so: every metric with its labels, every field of the access log, every stage."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from serving.access_log import fields
from serving.gpu import GpuCollector
from serving.protocols.ending import headers
from tests.serving import test_access_log, test_gpu, test_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")


def labels_of(families: Iterable[Metric]) -> dict[str, set[str]]:
    """Return the labels of each family, under the name it has on the wire."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families
    }


def test_the_table_of_metrics_has_all_and_no_others() -> None:
    table = re.findall(r"^\| `(sameway_\w+)` \|([\w, ]*)\|", PAGE, flags=re.MULTILINE)
    registry = test_metrics.used().registry
    assert isinstance(registry, CollectorRegistry)
    registry.register(GpuCollector(test_gpu.FakeNvml(test_gpu.card())))
    exposed = labels_of(registry.collect())
    ours = {name: labels for name, labels in exposed.items() if name.startswith("sameway_")}
    assert {name: set(re.findall(r"\w+", labels)) for name, labels in table} == ours


def test_the_example_of_the_access_log_has_the_fields_of_a_real_line() -> None:
    (example,) = re.findall(r'^\{"time":.*\}$', PAGE, flags=re.MULTILINE)
    real = fields(test_access_log.ended(trace_id="ab"), now=0.0)
    assert list(json.loads(example)) == list(real)
    described = PAGE.split("| field | meaning |")[1].split("\n\n")[0]
    everything = fields(test_access_log.ended(trace_id="ab", client="key", reason="why"), now=0.0)
    missing = [name for name in everything if f"`{name}`" not in described and not name.endswith("_ms")]
    assert not missing


def test_the_stages_are_those_of_the_header() -> None:
    record = test_access_log.ended()
    answer = headers(record.response, request_id="", received=record.received, encoding=record.encoding, ended=record.ended)
    sent = re.findall(r"(\w+);dur=", dict(answer)["server-timing"])
    table = PAGE.split("| stage | from | to |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE) == sent
