"""Kubernetes' manifests: well formed by its own schemas, and in accord with what the server does. No cluster is asked."""

import copy
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy import manifests, reach, upkeep
from tests.deploy.manifests import FOLDER, OVERLAYS, SETS, VERSIONS, Manifest
from tests.deploy.schemas import check


@pytest.fixture(scope="module", params=SETS)
def made(request: pytest.FixtureRequest) -> list[Manifest]:
    return manifests.made_set(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_is_well_formed(made: list[Manifest], version: str) -> None:
    assert made
    for manifest in made:
        check(manifest, version)


def test_who_should_reach_a_server_does_and_nobody_else(made: list[Manifest]) -> None:
    assert reach.complaints(made) == []


def test_servers_are_started_watched_replaced_and_scaled_by_what_their_settings_say(made: list[Manifest]) -> None:
    assert upkeep.complaints(made) == []


def test_every_set_has_servers(made: list[Manifest]) -> None:
    """Of nothing there is nothing to complain."""
    assert manifests.pods(made)


_FILES = sorted(file for name in ("base", "guards") for file in (FOLDER / name).rglob("*.yaml"))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_the_base_is_well_formed_without_kustomize_too(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        if manifest["kind"] != "Kustomization":
            check(manifest, VERSIONS[-1])


@pytest.mark.parametrize(
    ("file", "place", "value"),
    [
        ("base/server/deployment.yaml", ("spec", "replicas"), "two"),
        ("base/server/deployment.yaml", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("guards/poddisruptionbudget.yaml", ("spec", "unhealthyPodEvictionPolicy"), 1),
        ("overlays/autoscaling-keda/scaledobject.yaml", ("spec", "minReplicas"), 2),
        ("overlays/autoscaling-keda/scaledobject.yaml", ("spec", "triggers", 0, "metadata", "threshold"), 16),
        ("kserve/servingruntime.yaml", ("spec", "protocolVersions", 0), "V2"),
        ("kserve/servingruntime.yaml", ("spec", "containers", 0, "prots"), []),
        ("kserve/inferenceservice.yaml", ("spec", "predictor", "model", "storageURI"), "pvc://models"),
        ("components/podmonitor/podmonitor.yaml", ("spec", "podMetricsEndpoints", 0, "targetport"), "http"),
    ],
)
def test_a_mistake_is_noticed(file: str, place: tuple[Any, ...], value: object) -> None:
    manifest = yaml.safe_load((FOLDER / file).read_text())
    check(manifest, VERSIONS[-1])
    wrong = copy.deepcopy(manifest)
    inside = wrong
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(wrong, VERSIONS[-1])


def test_a_canary_is_one_deployment_of_another_image_and_nothing_else() -> None:
    (canary,) = manifests.made(FOLDER / "overlays" / "canary")
    stable = manifests.only(manifests.made(FOLDER / "overlays" / "cpu"), "Deployment")
    assert canary["metadata"]["name"] != stable["metadata"]["name"]
    (ours, theirs) = (manifests.container(one) for one in (canary, stable))
    assert ours["image"] != theirs["image"]
    assert {**ours, "image": ""} == {**theirs, "image": ""}


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name.startswith("autoscaling")])
def test_an_autoscaler_is_there_and_owns_the_number_of_servers(name: str) -> None:
    found = manifests.made(FOLDER / "overlays" / name)
    assert "replicas" not in manifests.only(found, "Deployment")["spec"]
    assert [one["kind"] for one in found if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]


def test_kserve_names_a_service_of_its_own() -> None:
    found = manifests.made(FOLDER / "kserve")
    assert {one["kind"] for one in found} >= {"ServingRuntime", "InferenceService", "PersistentVolumeClaim", "NetworkPolicy"}
    others = manifests.made(FOLDER / "base")
    (service,) = manifests.of_kind(others, "Service")
    assert service["metadata"]["namespace"] != found[-1]["metadata"]["namespace"], (
        "the Service would choose KServe's pods too"
    )


def test_a_gpu_caches_where_it_can_write() -> None:
    (pod,) = manifests.pods(manifests.made(FOLDER / "overlays" / "gpu"))
    given = {variable["name"]: variable["value"] for variable in pod.container["env"]}
    (mount,) = pod.container["volumeMounts"]
    for name in ("HOME", "CUDA_CACHE_PATH"):
        assert Path(given[name]).is_relative_to(mount["mountPath"]), name


def _with(tmp_path: Path, component: str) -> list[Manifest]:
    """Return a component in an overlay, as a reader would write it."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(f"resources: [../cpu]\ncomponents: [../../components/{component}]\n")
    found = manifests.made(overlay)
    for manifest in found:
        check(manifest, VERSIONS[-1])
    assert [*reach.complaints(found), *upkeep.complaints(found)] == []
    return found


def test_a_volume_of_models_is_read_and_watched(tmp_path: Path) -> None:
    one = manifests.container(manifests.only(_with(tmp_path, "models-volume"), "Deployment"))
    (mount,) = one["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (manifests.settings(one)["repository"], True)
    assert float(manifests.settings(one)["watch_seconds"]) > 0


def test_the_prometheus_operator_finds_the_pods_under_the_job_that_all_rules_ask_for(tmp_path: Path) -> None:
    found = _with(tmp_path, "podmonitor")
    spec = manifests.only(found, "PodMonitor")["spec"]
    (pod,) = manifests.pods(found)
    assert pod.chosen_by(spec["selector"]["matchLabels"])
    assert pod.labels[spec["jobLabel"]] == "sameway"
    (endpoint,) = spec["podMetricsEndpoints"]
    assert pod.has_port(endpoint["port"])
    (job,) = yaml.safe_load((manifests.FOLDER.parent / "prometheus" / "kubernetes.yml").read_text())["scrape_configs"]
    ours = {rule["target_label"]: rule["source_labels"] for rule in job["relabel_configs"] if "target_label" in rule}
    assert {rule["targetLabel"]: rule["sourceLabels"] for rule in endpoint["relabelings"]}.items() <= ours.items()
