"""The dashboard without Grafana: its form, and that it speaks of metrics that there are."""

import re

import jsonschema
import pytest
import yaml

from tests.deploy import dashboard
from tests.deploy.tools import DEPLOY, ROOT

#: What is asked of the dashboard, and a metric by which a panel answers.
_DEMANDED = {
    "request rate": "sameway_requests_total",
    "latency percentiles": "sameway_request_seconds_bucket",
    "queue": "sameway_queue_rows",
    "batch size": "sameway_batch_rows_count",
    "errors by kind": "reason",
    "model versions": "sameway_model_info",
    "GPU": "sameway_gpu_utilization",
}


def test_it_has_the_form_that_grafana_reads() -> None:
    jsonschema.Draft202012Validator(dashboard.SCHEMA).validate(dashboard.read())


@pytest.mark.parametrize("damage", ["title", "unknown", "unit", "datasource"])
def test_a_mistake_in_it_is_noticed(damage: str) -> None:
    found = dashboard.read()
    panel = next(one for one in found["panels"] if one["type"] == "timeseries")
    if damage == "title":
        del panel["title"]
    elif damage == "unknown":
        panel["tragets"] = []
    elif damage == "unit":
        panel["fieldConfig"]["defaults"]["unit"] = "seconds"
    else:
        panel["targets"][0]["datasource"] = {"type": "prometheus", "uid": "another"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(dashboard.SCHEMA).validate(found)


@pytest.mark.parametrize("what", _DEMANDED)
def test_it_shows(what: str) -> None:
    assert any(_DEMANDED[what] in query.expression for query in dashboard.queries(window="5m"))


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard.read()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }  # fmt: skip
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


def test_every_metric_that_the_stack_speaks_of_is_explained() -> None:
    """By the dashboard, the rules and the autoscalers: a name that docs/observability.md does not list is a mistake."""
    listed = set(re.findall(r"^\| `(sameway_\w+)`", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE))
    used = set()
    for file in sorted(DEPLOY.rglob("*")):
        if file.suffix in (".yml", ".yaml", ".json"):
            used |= set(re.findall(r"\bsameway_[a-z_]+\b", file.read_text()))
    adapter = yaml.safe_load(
        (DEPLOY / "kubernetes" / "overlays" / "autoscaling-hpa" / "prometheus-adapter.yaml").read_text()
    )
    used -= {rule["name"]["as"] for rule in adapter["rules"]["custom"]}  # which it makes
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} <= listed


def test_it_is_provisioned_with_the_source_that_its_panels_name() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["uid"]) == ("prometheus", "prometheus")
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    (provider,) = yaml.safe_load((folder / "dashboards" / "sameway.yml").read_text())["providers"]
    mounted = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounted
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in mounted
