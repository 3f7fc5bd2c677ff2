"""kubernetes.yml in a real Prometheus: which pods it keeps and what it calls them; and that it matters what stands there."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import prometheus
from tests.deploy.prometheus import FOLDER, PodPort, Prometheus
from tests.deploy.tools import run, said

_OURS = {"app.kubernetes.io/name": "sameway", "sameway/track": "stable"}
#: Nobody listens there: a target is one whether or not it answers.
_PORTS = [
    PodPort("127.0.0.1:11", "sameway-1", _OURS),
    PodPort("127.0.0.1:12", "sameway-canary-1", {**_OURS, "sameway/track": "canary"}),
    PodPort("127.0.0.1:13", "digits-predictor-1", _OURS, namespace="sameway-kserve"),
    PodPort("127.0.0.1:14", "sameway-2", _OURS, port="debug"),
    PodPort("127.0.0.1:15", "sameway-3", _OURS, phase="Failed"),
    PodPort("127.0.0.1:16", "another-1", {"app.kubernetes.io/name": "another"}),
]
_EXPECTED = {
    ("127.0.0.1:11", "sameway", "sameway-1", "stable"),
    ("127.0.0.1:12", "sameway", "sameway-canary-1", "canary"),
    ("127.0.0.1:13", "sameway-kserve", "digits-predictor-1", "stable"),
}
_PATIENCE = 60.0


def _rule(job: dict[str, Any], label: str) -> dict[str, Any]:
    """Return the rule that reads a label of Kubernetes'."""
    (found,) = [one for one in job["relabel_configs"] if one["source_labels"] == [f"__meta_kubernetes_{label}"]]
    rule: dict[str, Any] = found
    return rule


#: Each makes one mistake in the job.
_MISTAKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "keeps no pod": lambda job: _rule(job, "pod_label_app_kubernetes_io_name").update(regex="sameways"),
    "keeps every pod": lambda job: _rule(job, "pod_label_app_kubernetes_io_name").update(regex=".*"),
    "keeps no port": lambda job: _rule(job, "pod_container_port_name").update(regex="web"),
    "keeps every port": lambda job: _rule(job, "pod_container_port_name").update(regex=".*"),
    "keeps what has ended": lambda job: job["relabel_configs"].remove(_rule(job, "pod_phase")),
    "another name for the pod": lambda job: _rule(job, "pod_name").update(target_label="podx"),
    "no namespace": lambda job: job["relabel_configs"].remove(_rule(job, "namespace")),
    "no track": lambda job: job["relabel_configs"].remove(_rule(job, "pod_label_sameway_track")),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the job as it stands, and beside it one job for each mistake."""
    folder = tmp_path_factory.mktemp("discovery")
    configuration = prometheus.on_kubernetes(folder, _PORTS)
    (job,) = configuration["scrape_configs"]
    for name, mistake in _MISTAKES.items():
        wrong = {**copy.deepcopy(job), "job_name": name}
        mistake(wrong)
        configuration["scrape_configs"].append(wrong)
    with prometheus.running(folder, yaml.safe_dump(configuration)) as running:
        end = time.monotonic() + _PATIENCE
        # Those that a job drops are told too: all of them have been looked at then.
        while sum(map(len, _targets(running).values())) < len(_PORTS) * (1 + len(_MISTAKES)):
            assert time.monotonic() < end, "Prometheus has not found the pods"
            time.sleep(0.1)
        yield running


def _targets(running: Prometheus) -> dict[str, list[object]]:
    data = running.ask("targets", state="any")
    return {kind: data[kind] for kind in ("activeTargets", "droppedTargets")}


def _kept(running: Prometheus, job: str) -> set[tuple[str, ...]]:
    """Return of each target that a job keeps what the rules, the dashboard and the autoscalers ask for."""
    labels = [one["labels"] for one in running.ask("targets", state="active")["activeTargets"] if one["scrapePool"] == job]
    return {tuple(one.get(name, "") for name in ("instance", "namespace", "pod", "track")) for one in labels}


def test_the_servers_are_found_and_named_and_nobody_else_is(found: Prometheus) -> None:
    assert _kept(found, "sameway") == _EXPECTED


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_in_the_job_is_noticed(found: Prometheus, mistake: str) -> None:
    assert _kept(found, mistake) != _EXPECTED


def test_it_is_well_formed_but_for_what_debian_leaves_out(tmp_path: Path) -> None:
    """Debian's Prometheus knows no discovery on Kubernetes: everything else is checked with files in its place."""
    (tmp_path / "kubernetes.yml").write_text(yaml.safe_dump(prometheus.on_kubernetes(tmp_path, _PORTS)))
    (tmp_path / "alerts.yml").write_bytes((FOLDER / "alerts.yml").read_bytes())
    done = run("promtool", "check", "config", str(tmp_path / "kubernetes.yml"))
    assert done.returncode == 0, said(done)
