"""Kubernetes' manifests: well formed by its own schemas, and in accord with what the server does. No cluster is asked."""

import copy
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from serving.settings import Settings
from tests.deploy import manifests
from tests.deploy.manifests import FOLDER, LISTED, OVERLAYS, VERSIONS, Manifest

_FOLDERS = {"base": FOLDER / "base", **{name: FOLDER / "overlays" / name for name in OVERLAYS}, "kserve": FOLDER / "kserve"}
_SERVING = ["base", *OVERLAYS]


@pytest.fixture(scope="module", params=_FOLDERS)
def made(request: pytest.FixtureRequest) -> list[Manifest]:
    return manifests.made(_FOLDERS[request.param])


@pytest.fixture(scope="module", params=_SERVING)
def deployment(request: pytest.FixtureRequest) -> Manifest:
    return manifests.only(manifests.made(_FOLDERS[request.param]), "Deployment")


@pytest.fixture(scope="module", params=["Deployment", "ServingRuntime"])
def container(request: pytest.FixtureRequest) -> Manifest:
    folder = FOLDER / ("base" if request.param == "Deployment" else "kserve")
    return manifests.container(manifests.only(manifests.made(folder), request.param))


def check(manifest: Manifest, version: str) -> None:
    """Hold a manifest against the schema there is for it."""
    listed = LISTED.get(manifests.identity(manifest))
    if listed is None:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    jsonschema.Draft202012Validator(listed).validate(manifest)
    # What is Kubernetes' own in it.
    if manifest["kind"] == "ServingRuntime":
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x"},
            "spec": {"containers": manifest["spec"]["containers"]},
        }
        kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_is_well_formed(made: list[Manifest], version: str) -> None:
    assert made
    for manifest in made:
        check(manifest, version)


@pytest.mark.parametrize("file", sorted((FOLDER / "base").rglob("*.yaml")), ids=lambda file: file.name)
def test_the_base_is_well_formed_without_kustomize_too(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        if manifest["kind"] != "Kustomization":
            check(manifest, VERSIONS[-1])


@pytest.mark.parametrize(
    ("file", "place", "value"),
    [
        ("base/server/deployment.yaml", ("spec", "replicas"), "two"),
        ("base/server/deployment.yaml", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("base/poddisruptionbudget.yaml", ("spec", "unhealthyPodEvictionPolicy"), 1),
        ("overlays/autoscaling-keda/scaledobject.yaml", ("spec", "minReplicas"), 2),
        ("overlays/autoscaling-keda/scaledobject.yaml", ("spec", "triggers", 0, "metadata", "threshold"), 16),
        ("kserve/servingruntime.yaml", ("spec", "protocolVersions", 0), "V2"),
        ("kserve/servingruntime.yaml", ("spec", "containers", 0, "prots"), []),
        ("kserve/inferenceservice.yaml", ("spec", "predictor", "model", "storageURI"), "pvc://models"),
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


def test_every_setting_is_one_of_the_servers(deployment: Manifest, container: Manifest) -> None:
    for one in (manifests.container(deployment), container):
        given = manifests.settings(one)
        assert set(given) <= set(Settings.model_fields)
        Settings.model_validate(given)


def test_the_startup_probe_uses_the_ready_route_and_waits_as_long_as_opening_may_take(container: Manifest) -> None:
    probe = container["startupProbe"]
    assert probe["httpGet"]["path"] == "/v2/health/ready"
    assert probe["periodSeconds"] * probe["failureThreshold"] >= Settings.model_fields["opening_seconds"].default


def test_a_server_that_drains_is_not_ready_and_lives(container: Manifest) -> None:
    given = Settings.model_validate(manifests.settings(container))
    ready, live = container["readinessProbe"], container["livenessProbe"]
    assert ready["httpGet"]["path"] == "/v2/health/ready"
    assert live["httpGet"]["path"] == "/v2/health/live"
    noticed = ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"]
    assert noticed < given.drain_delay_seconds, "not noticed before the port closes"
    assert live["periodSeconds"] * live["failureThreshold"] > given.hang_exit_seconds, "killed before it could end by itself"


def test_the_grace_period_holds_the_delay_the_drain_and_five_seconds(deployment: Manifest) -> None:
    given = Settings.model_validate(manifests.settings(manifests.container(deployment)))
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= given.drain_delay_seconds + given.drain_seconds + 5
    predictor = manifests.only(manifests.made(FOLDER / "kserve"), "InferenceService")["spec"]["predictor"]
    assert predictor["terminationGracePeriodSeconds"] >= grace


def test_a_rollout_is_called_failed_after_the_startup_probe_has(deployment: Manifest) -> None:
    probe = manifests.container(deployment)["startupProbe"]
    assert deployment["spec"]["progressDeadlineSeconds"] > probe["periodSeconds"] * probe["failureThreshold"]


def test_pods_are_what_restricted_allows(deployment: Manifest) -> None:
    """The rules of the Pod Security Standard `restricted`, one by one, and a read-only root besides."""
    pod = deployment["spec"]["template"]["spec"]
    context, own = pod["securityContext"], manifests.container(deployment)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 10001  # the image's
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    assert all(set(volume) - {"name"} <= allowed for volume in pod.get("volumes", []))


def test_every_selector_finds_the_servers_and_a_canary_is_nobody_elses() -> None:
    base = manifests.made(FOLDER / "base")
    stable = manifests.only(base, "Deployment")["spec"]
    canary = manifests.only(manifests.made(FOLDER / "overlays" / "canary"), "Deployment")["spec"]
    service = manifests.only(base, "Service")["spec"]["selector"]
    budget = manifests.only(base, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    policy = manifests.only(base, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    for one in (stable, canary):
        labels = one["template"]["metadata"]["labels"].items()
        assert one["selector"]["matchLabels"].items() <= labels
        assert all(selector.items() <= labels for selector in (service, budget, policy))
    assert not stable["selector"]["matchLabels"].items() <= canary["template"]["metadata"]["labels"].items()
    assert not canary["selector"]["matchLabels"].items() <= stable["template"]["metadata"]["labels"].items()


def test_a_canary_is_one_deployment_of_another_image_and_nothing_else() -> None:
    (canary,) = manifests.made(FOLDER / "overlays" / "canary")
    stable = manifests.only(manifests.made(FOLDER / "overlays" / "cpu"), "Deployment")
    assert canary["metadata"]["name"] != stable["metadata"]["name"]
    (ours, theirs) = (manifests.container(one) for one in (canary, stable))
    assert ours["image"] != theirs["image"]
    assert {**ours, "image": ""} == {**theirs, "image": ""}


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name.startswith("autoscaling")])
def test_an_autoscaler_owns_the_number_of_servers(name: str) -> None:
    found = manifests.made(FOLDER / "overlays" / name)
    deployment = manifests.only(found, "Deployment")
    assert "replicas" not in deployment["spec"]
    scaler = next(one for one in found if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"))
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["metadata"]["namespace"] == deployment["metadata"]["namespace"]


def test_the_hpa_asks_for_the_metric_that_the_adapter_offers() -> None:
    folder = FOLDER / "overlays" / "autoscaling-hpa"
    (rule,) = yaml.safe_load((folder / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    metrics = yaml.safe_load((folder / "horizontalpodautoscaler.yaml").read_text())["spec"]["metrics"]
    assert [one["pods"]["metric"]["name"] for one in metrics if one["type"] == "Pods"] == [rule["name"]["as"]]


def test_a_volume_of_models_is_read_and_watched(tmp_path: Path) -> None:
    """The component, in an overlay as a reader would write it."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [../cpu]\ncomponents: [../../components/models-volume]\n")
    found = manifests.made(overlay)
    for manifest in found:
        check(manifest, VERSIONS[-1])
    one = manifests.container(manifests.only(found, "Deployment"))
    (mount,) = one["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (manifests.settings(one)["repository"], True)
    assert float(manifests.settings(one)["watch_seconds"]) > 0
