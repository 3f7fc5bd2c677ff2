"""What the autoscalers ask Prometheus, by promtool: of known figures the right share, and nothing of a canary's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import FOLDER
from tests.deploy.tools import run, said

_HPA = FOLDER / "overlays" / "autoscaling-hpa"
_KEDA = FOLDER / "overlays" / "autoscaling-keda"


def keda(name: str) -> str:
    """Return what KEDA asks."""
    (trigger,) = [one for one in _read(_KEDA / "scaledobject.yaml")["spec"]["triggers"] if one["name"] == name]
    return str(trigger["metadata"]["query"])


def adapter(rule: dict[str, Any]) -> str:
    """Return what prometheus-adapter asks for all pods of the namespace, made of its rule as it makes it."""
    labels = {one["resource"]: label for label, one in rule["resources"]["overrides"].items()}
    filled = {
        "Series": rule["name"]["matches"],
        "LabelMatchers": f'{labels["namespace"]}="sameway"',
        "GroupBy": labels["pod"],
    }
    return re.sub(r"<<\.(\w+)>>", lambda name: filled[name[1]], rule["metricsQuery"])


def _read(file: Path) -> Any:  # Any: YAML
    return yaml.safe_load(file.read_text())


def _rule() -> dict[str, Any]:
    (rule,) = _read(_HPA / "prometheus-adapter.yaml")["rules"]["custom"]
    found: dict[str, Any] = rule
    return found


def _figures() -> list[dict[str, str]]:
    """Return two servers with a model of batches of 64 rows and one of single rows; and whom nobody asks about, all full."""
    series = []

    def server(pod: str, digits: str, price: str, seconds: int, **other: str) -> None:
        found = {"namespace": "sameway", "job": "sameway", "track": "stable", "pod": pod, "instance": f"{pod}:8000", **other}
        labels = ", ".join(f'{name}="{value}"' for name, value in found.items())
        for model, rows, most in (("digits", digits, 256), ("price", price, 4)):
            of = f'{{{labels}, model="{model}", version="1"}}'
            series.append({"series": f"sameway_queue_rows{of}", "values": rows})
            series.append({"series": f"sameway_queue_limit_rows{of}", "values": f"{most}+0x40"})
        series.append({"series": f"process_cpu_seconds_total{{{labels}}}", "values": f"0+{seconds}x40"})
        series.append({"series": f"sameway_in_flight{{{labels}}}", "values": "7+0x40"})

    # Every 15 s. Of the one half of the time half of the queue, which is a quarter; of the other half of four rows.
    server("a", " ".join(["0 128"] * 20), "1+0x40", 15)
    server("b", "0+0x40", "2+0x40", 6)
    server("c", "256+0x40", "4+0x40", 30, track="canary")
    server("d", "256+0x40", "4+0x40", 30, job="another")
    server("e", "256+0x40", "4+0x40", 30, namespace="another")
    return series


#: By what is asked: the samples that must come.
_EXPECTED: dict[str, list[dict[str, object]]] = {
    "keda's queue": [{"labels": "{}", "value": 0.75}],
    "keda's processors": [{"labels": "{}", "value": 1.4}],
    "the adapter's": [{"labels": '{pod="a"}', "value": 0.25}, {"labels": '{pod="b"}', "value": 0.5}],
}
_ASKED: dict[str, Callable[[], str]] = {
    "keda's queue": lambda: keda("queue"),
    "keda's processors": lambda: keda("processors"),
    "the adapter's": lambda: adapter(_rule()),
}


def _promtool(query: str, expected: list[dict[str, object]], folder: Path) -> Any:
    """Let promtool ask once, at a moment at which a window of a minute holds four samples."""
    moment = {"expr": query, "eval_time": "8m50s", "exp_samples": expected}
    case = {"interval": "15s", "input_series": _figures(), "promql_expr_test": [moment]}
    (folder / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [case]}))
    return run("promtool", "test", "rules", str(folder / "test.yml"))


@pytest.mark.parametrize("what", _EXPECTED)
def test_of_known_figures_it_is_told_the_right_share(what: str, tmp_path: Path) -> None:
    done = _promtool(_ASKED[what](), _EXPECTED[what], tmp_path)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(
    ("what", "right", "wrong"),
    [
        ("keda's queue", "max by", "min by"),
        ("keda's queue", "max by", "sum by"),
        ("keda's queue", "sum(", "max("),
        ("keda's queue", "avg_over_time", "max_over_time"),
        ("keda's queue", "sameway_queue_rows", "sameway_in_flight"),
        ("keda's queue", "sameway_queue_limit_rows", "sameway_queue_rows"),
        ("keda's queue", 'namespace="sameway", ', ""),
        ("keda's queue", ', track="stable"', ""),
        ("keda's queue", 'job="sameway", ', ""),
        ("keda's processors", ', track="stable"', ""),
        ("keda's processors", 'job="sameway", ', ""),
        ("keda's processors", 'namespace="sameway", ', ""),
        ("keda's processors", "sum(", "avg("),
        ("the adapter's", "max by", "min by"),
        ("the adapter's", "avg_over_time", "max_over_time"),
        ("the adapter's", "by (pod)", "by (instance)"),
        ("the adapter's", ', track="stable"', ""),
        ("the adapter's", ', job="sameway"', ""),
    ],
)
def test_another_question_gets_another_answer(what: str, right: str, wrong: str, tmp_path: Path) -> None:
    query = _ASKED[what]()
    assert right in query
    assert _promtool(query.replace(right, wrong), _EXPECTED[what], tmp_path).returncode != 0


def test_the_adapter_groups_by_the_labels_that_prometheus_puts_on(tmp_path: Path) -> None:
    rule = _rule()
    rule["resources"]["overrides"] = {"namespace": {"resource": "namespace"}, "instance": {"resource": "pod"}}
    assert _promtool(adapter(rule), _EXPECTED["the adapter's"], tmp_path).returncode != 0


def test_the_hpa_asks_for_the_metric_that_the_adapter_offers() -> None:
    scaler = manifests.only(manifests.made_set("autoscaling-hpa"), "HorizontalPodAutoscaler")
    asked = [one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"]
    assert asked == [_rule()["name"]["as"]]


def test_the_adapter_looks_for_the_series_that_it_then_asks_for() -> None:
    rule = _rule()
    assert rule["seriesQuery"].startswith(rule["name"]["matches"] + "{")
    labels = set(re.findall(r"(\w+)(?==|!=)", rule["seriesQuery"]))
    assert labels == {"job", "track", *rule["resources"]["overrides"]}
