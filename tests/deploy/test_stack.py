"""The monitored stack at work: a real Prometheus scrapes real servers under load, and every query has an answer.

`make stack-test` runs this with everything else about deploy/.
"""

import re
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.deploy import dashboard, prometheus
from tests.deploy.prometheus import PodPort, Prometheus
from tests.deploy.stack import Stack, running
from tests.deploy.tools import DEPLOY, ROOT

#: In place of Grafana's $__rate_interval: scrapes are half a second apart here.
_WINDOW = "10s"
_PATIENCE = 60.0


def autoscaler_queries() -> list[str]:
    """Return what KEDA and prometheus-adapter ask."""
    overlays = DEPLOY / "kubernetes" / "overlays"
    scaled = yaml.safe_load((overlays / "autoscaling-keda" / "scaledobject.yaml").read_text())
    queries = [one["metadata"]["query"] for one in scaled["spec"]["triggers"]]
    adapter = yaml.safe_load((overlays / "autoscaling-hpa" / "prometheus-adapter.yaml").read_text())
    for rule in adapter["rules"]["custom"]:
        filled = {"Series": rule["name"]["matches"], "LabelMatchers": 'namespace="sameway"', "GroupBy": "pod"}
        queries.append(re.sub(r"<<\.(\w+)>>", lambda name: filled[name[1]], rule["metricsQuery"]))  # noqa: B023 - used at once
    return queries


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture(scope="module")
def kubernetes(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The same servers, one of them a canary, as a Prometheus finds them on Kubernetes."""
    folder = tmp_path_factory.mktemp("kubernetes")
    tracks = {"stable": "sameway-1", "canary": "sameway-canary-1"}
    ports = [
        PodPort(server.authority, tracks[track], {"app.kubernetes.io/name": "sameway", "sameway/track": track})
        for server, track in zip(stack.servers, tracks, strict=True)
    ]
    with prometheus.running(folder, yaml.safe_dump(prometheus.on_kubernetes(folder, ports))) as found:
        yield found


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until a condition holds: a scrape or two, or as long as a busy machine takes."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_both_servers_are_scraped(stack: Stack) -> None:
    until(lambda: stack.prometheus.query('up{job="sameway"}') == [1.0, 1.0], "two servers are up")
    targets = stack.prometheus.ask("targets", state="active")["activeTargets"]
    assert {one["labels"]["instance"] for one in targets} == {server.authority for server in stack.servers}
    assert [one["lastError"] for one in targets] == ["", ""]


def test_every_query_of_the_dashboard_returns_data(stack: Stack) -> None:
    waiting = dashboard.queries(window=_WINDOW)
    assert len(waiting) > 20

    def answered() -> bool:
        waiting[:] = [query for query in waiting if not stack.prometheus.query(query.expression)]
        return not waiting

    try:
        until(answered, "no data")
    except AssertionError:
        pytest.fail("\n".join(f"{query.panel}: no data for {query.expression}" for query in waiting))


def test_the_dashboard_shows_what_was_asked(stack: Stack) -> None:
    """Not any data: the load's own kinds of errors, its batches of two rows, the one version there is."""
    ask = stack.prometheus.query
    shown = {query.panel: query.expression for query in dashboard.queries(window=_WINDOW)}
    errors = f"count({shown['Errors by kind']} > 0)"
    until(lambda: ask(errors) == [2.0], "invalid_input and model_not_found")
    assert ask(shown["Versions served"]) == [1.0]
    assert ask(shown["Servers up"]) == [2.0]
    batches = 'sum(sameway_batch_rows_sum{job="sameway"}) / sum(sameway_batch_rows_count{job="sameway"})'
    until(lambda: any(1.0 <= mean <= 2.0 for mean in ask(batches)), "batches of one and of two rows")
    assert len(ask(shown["GPU utilization"])) == 4  # two of the stand-in's, on two servers


def test_the_dashboard_lets_one_choose_servers_and_models(stack: Stack) -> None:
    offered = {label: stack.prometheus.values(label, selector) for label, selector in dashboard.variables().items()}
    assert set(offered.pop("instance")) == {server.authority for server in stack.servers}
    assert offered == {"model": ["telling"], "track": []}  # tracks are Kubernetes'


def test_every_rule_can_be_evaluated_and_none_fires_while_all_is_well(stack: Stack) -> None:
    def rules() -> list[dict[str, str]]:
        return [rule for group in stack.prometheus.ask("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()), "all rules have been evaluated")
    expected = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["name"] for rule in rules()] == [rule["alert"] for rule in expected]
    assert {rule["name"]: rule.get("lastError", "") for rule in rules() if rule["health"] != "ok"} == {}
    # Pending may be: half of this load is refused as wrong, and a scrape may take too long on a busy machine.
    alerts = stack.prometheus.ask("alerts")["alerts"]
    assert {alert["labels"]["alertname"] for alert in alerts} <= {"SamewayRefusing", "SamewayDown"}
    assert [alert for alert in alerts if alert["state"] == "firing"] == []


@pytest.mark.parametrize("query", autoscaler_queries())
def test_autoscalers_get_one_answer_which_is_not_of_the_canary(kubernetes: Prometheus, query: str) -> None:
    until(lambda: len(kubernetes.query(query)) == 1, query)


def test_the_queries_that_judge_a_canary_tell_it_from_the_others(kubernetes: Prometheus) -> None:
    """As docs/operations.md shows them, of the model that there is; both servers have the same version."""
    page = (ROOT / "docs" / "operations.md").read_text()
    queries = re.findall(r"^\| `([^`]*sameway_[^`]*)` \|", page, re.MULTILINE)
    assert len(queries) == 3
    for query in queries:
        ours = query.replace("digits", "telling").replace("1h", _WINDOW).replace('outcome="failed"', 'outcome="refused"')
        assert ours != query
        until(lambda ours=ours: kubernetes.tracks(ours) == ["canary", "stable"], ours)  # type: ignore[misc]


def test_the_dashboard_tells_a_canary_from_the_others(kubernetes: Prometheus) -> None:
    shown = {query.panel: query.expression for query in dashboard.queries(window=_WINDOW)}
    for panel in ("Request rate by model and version", "p99 by model and version", "Errors by kind"):
        until(lambda panel=panel: set(kubernetes.tracks(shown[panel])) == {"canary", "stable"}, panel)  # type: ignore[misc]
    assert sorted(kubernetes.values("track", dashboard.variables()["track"])) == ["canary", "stable"]


def test_a_server_that_ends_is_missed(stack: Stack) -> None:
    """The last one: it ends a server."""
    stays, goes = stack.servers
    assert goes.stop() == 0

    def missed() -> set[str]:
        alerts = stack.prometheus.ask("alerts")["alerts"]
        return {one["labels"]["instance"] for one in alerts if one["labels"]["alertname"] == "SamewayDown"}

    until(lambda: goes.authority in missed(), "an alert is pending")
    other = f'sum(rate(sameway_requests_total{{outcome="ok", instance="{stays.authority}"}}[3s])) > 0'
    until(lambda: bool(stack.prometheus.query(other)), "nginx goes on with the other server")
