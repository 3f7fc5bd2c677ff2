"""The checks of Kubernetes' manifests can fail: each of these mistakes, made in what kustomize makes, is complained of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.deploy import manifests, reach, upkeep
from tests.deploy.manifests import Manifest


class Mistake(NamedTuple):
    """Something that is put into one manifest of a set; None takes it away."""

    of: str
    kind: str
    place: str
    value: object


_POD = "spec.template.spec"
_SERVER = f"{_POD}.containers.0"
_RUNTIME = "spec.containers.0"
_NAMED, _NAME, _TRACK = "kubernetes.io/metadata.name", "app.kubernetes.io/name", "sameway/track"
_PEERS = "spec.ingress.0.from"

_MISTAKES = [
    # Who reaches whom.
    Mistake("base", "NetworkPolicy", "spec.ingress.0.ports.0.port", 9999),
    Mistake("base", "NetworkPolicy", f"{_PEERS}.2.namespaceSelector.matchLabels", {_NAMED: "nowhere"}),
    Mistake("base", "NetworkPolicy", f"{_PEERS}.0.podSelector", {"matchLabels": {"app": "other"}}),
    Mistake("base", "NetworkPolicy", f"{_PEERS}.1.namespaceSelector", {}),
    Mistake("base", "NetworkPolicy", "spec.egress", [{}]),
    Mistake("base", "NetworkPolicy", "spec.policyTypes", ["Ingress"]),
    Mistake("base", "NetworkPolicy", "spec.podSelector.matchLabels", {"app.kubernetes.io/name": "another"}),
    Mistake("base", "Service", "spec.ports.0.targetPort", 9000),
    Mistake("base", "Service", "spec.ports.0.targetPort", "web"),
    Mistake("base", "Service", "spec.selector", {"app.kubernetes.io/name": "another"}),
    Mistake("cpu with canary", "Service", "spec.selector", {"sameway/track": "stable"}),
    Mistake("base", "Deployment", f"{_SERVER}.ports.0.containerPort", 9000),
    Mistake("base", "Deployment", f"{_SERVER}.ports.0.name", "web"),
    Mistake("base", "Deployment", f"{_SERVER}.readinessProbe.httpGet.port", "web"),
    Mistake("base", "Deployment", f"{_SERVER}.env.0.value", "127.0.0.1"),
    Mistake("base", "Deployment", f"{_SERVER}.env.1.value", "8001"),
    Mistake("base", "Deployment", "spec.template.metadata.labels", {_NAME: "another", _TRACK: "stable"}),
    Mistake("base", "Deployment", "spec.template.metadata.labels", {"app.kubernetes.io/name": "sameway"}),
    Mistake("base", "Deployment", f"{_POD}.serviceAccountName", "another"),
    Mistake("base", "Deployment", "metadata.namespace", "another"),
    Mistake("base", "Role", "rules.0.verbs", ["get"]),
    Mistake("base", "RoleBinding", "roleRef.name", "another"),
    Mistake("base", "RoleBinding", "subjects.0.namespace", "default"),
    Mistake("gpu", "Deployment", f"{_SERVER}.volumeMounts.0.name", "scratsh"),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.ports.0.containerPort", 8000),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.ports.0.name", "h2c"),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.env.0.value", "127.0.0.1"),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.livenessProbe.httpGet.port", 8000),
    Mistake("kserve", "ServingRuntime", "spec.labels", None),
    Mistake("kserve", "PersistentVolumeClaim", "metadata.namespace", "sameway"),
    # What is started, watched and replaced.
    Mistake("base", "PodDisruptionBudget", "spec.maxUnavailable", 0),
    Mistake("base", "PodDisruptionBudget", "spec.maxUnavailable", "100%"),
    Mistake("base", "PodDisruptionBudget", "spec.selector.matchLabels", {"app.kubernetes.io/name": "another"}),
    Mistake("cpu with canary", "PodDisruptionBudget", "spec.selector.matchLabels", {"app.kubernetes.io/name": "sameway"}),
    Mistake("base", "Deployment", "spec.strategy.rollingUpdate.maxUnavailable", "100%"),
    Mistake("base", "Deployment", "spec.strategy.rollingUpdate.maxSurge", 0),
    Mistake("cpu with canary", "Deployment", "spec.selector.matchLabels", {"app.kubernetes.io/name": "sameway"}),
    Mistake("base", "Deployment", "spec.progressDeadlineSeconds", 200),
    Mistake("gpu", "Deployment", "spec.progressDeadlineSeconds", 420),
    Mistake("base", "Deployment", f"{_POD}.terminationGracePeriodSeconds", 20),
    Mistake("gpu", "Deployment", f"{_POD}.terminationGracePeriodSeconds", 25),
    Mistake("base", "Deployment", f"{_SERVER}.startupProbe.failureThreshold", 30),
    Mistake("base", "Deployment", f"{_SERVER}.readinessProbe.failureThreshold", 1),
    Mistake("base", "Deployment", f"{_SERVER}.readinessProbe.timeoutSeconds", 2),
    Mistake("base", "Deployment", f"{_SERVER}.readinessProbe.httpGet.path", "/v2/health/live"),
    Mistake("base", "Deployment", f"{_SERVER}.livenessProbe.failureThreshold", 2),
    Mistake("base", "Deployment", f"{_SERVER}.livenessProbe.timeoutSeconds", 5),
    Mistake("base", "Deployment", f"{_SERVER}.env.0.name", "SAMEWAY_HSOT"),
    Mistake("base", "Deployment", f"{_SERVER}.env.0.name", "SAMEWEY_HOST"),
    Mistake("base", "Deployment", f"{_SERVER}.env.3.value", "most"),
    Mistake("base", "Deployment", f"{_SERVER}.securityContext.readOnlyRootFilesystem", False),
    Mistake("base", "Deployment", f"{_SERVER}.securityContext.capabilities", {"drop": []}),
    Mistake("base", "Deployment", f"{_POD}.securityContext.runAsUser", 0),
    Mistake("base", "Deployment", f"{_POD}.securityContext.seccompProfile", None),
    Mistake("base", "Deployment", f"{_POD}.automountServiceAccountToken", True),
    Mistake("base", "Deployment", f"{_POD}.hostNetwork", True),
    Mistake("base", "Deployment", f"{_POD}.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    Mistake("base", "Deployment", f"{_SERVER}.resources.limits", {"cpu": "1", "memory": "1Gi"}),
    Mistake("cpu", "Deployment", f"{_SERVER}.resources.requests.cpu", "1"),
    Mistake("gpu", "Deployment", f"{_SERVER}.resources.limits", {"memory": "8Gi", "nvidia.com/gpus": "1"}),
    Mistake("gpu", "Deployment", f"{_POD}.tolerations.0.key", "nvidia.com/gpus"),
    Mistake("base", "Namespace", "metadata.labels", {"pod-security.kubernetes.io/enforce": "privileged"}),
    Mistake("base", "Namespace", "metadata.labels", {"pod-security.kubernetes.io/enforce": "restricted"}),
    # What is scaled.
    Mistake("autoscaling-hpa", "HorizontalPodAutoscaler", "spec.metrics.0.pods.target.averageValue", "16"),
    Mistake("autoscaling-hpa", "HorizontalPodAutoscaler", "spec.metrics.0.pods.target.averageValue", "1m"),
    Mistake("autoscaling-hpa", "HorizontalPodAutoscaler", "spec.metrics.1.resource.target.averageUtilization", 700),
    Mistake("autoscaling-hpa", "HorizontalPodAutoscaler", "spec.minReplicas", 1),
    Mistake("autoscaling-hpa", "HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "another"),
    Mistake("autoscaling-hpa", "Deployment", "spec.replicas", 3),
    Mistake("autoscaling-keda", "ScaledObject", "spec.triggers.0.metadata.threshold", "16"),
    Mistake("autoscaling-keda", "ScaledObject", "spec.triggers.1.metadata.threshold", "140"),
    Mistake("autoscaling-keda", "ScaledObject", "spec.triggers.1.metadata.serverAddress", "http://prometheus.default:9090"),
    Mistake("autoscaling-keda", "ScaledObject", "spec.minReplicaCount", 0),
    Mistake("autoscaling-keda", "ScaledObject", "spec.scaleTargetRef.name", "another"),
    Mistake("autoscaling-keda", "Deployment", "spec.replicas", 3),
    # What KServe is told.
    Mistake("kserve", "InferenceService", "spec.predictor.model.runtime", "another"),
    Mistake("kserve", "InferenceService", "spec.predictor.model.storageUri", "pvc://another"),
    Mistake("kserve", "InferenceService", "spec.predictor.model.modelFormat.name", "another"),
    Mistake("kserve", "InferenceService", "spec.predictor.model.modelFormat.version", "2"),
    Mistake("kserve", "InferenceService", "spec.predictor.minReplicas", 0),
    Mistake("kserve", "InferenceService", "spec.predictor.terminationGracePeriodSeconds", 20),
    Mistake("kserve", "ServingRuntime", "spec.protocolVersions", ["v1"]),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.env.2.value", "/models"),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.readinessProbe.failureThreshold", 1),
    Mistake("kserve", "ServingRuntime", f"{_RUNTIME}.securityContext.runAsNonRoot", False),
]  # fmt: skip


def _made(found: list[Manifest], mistake: Mistake) -> None:
    """Make a mistake in the first manifest of its kind."""
    inside: Any = manifests.of_kind(found, mistake.kind)[0]
    steps = [int(step) if step.isdecimal() else step for step in _steps(mistake.place)]
    for step in steps[:-1]:
        inside = inside[step]
    if mistake.value is None:
        del inside[steps[-1]]
        return
    assert not isinstance(inside, dict) or inside.get(str(steps[-1])) != mistake.value, "no mistake"
    inside[steps[-1]] = mistake.value


def _steps(place: str) -> list[str]:
    return place.split(".")


@pytest.mark.parametrize(
    "mistake", _MISTAKES, ids=lambda mistake: f"{mistake.of}-{mistake.kind}-{mistake.place}-{mistake.value}"
)
def test_a_mistake_is_complained_of(mistake: Mistake) -> None:
    found = manifests.made_set(mistake.of)
    _made(found, mistake)
    checks: list[Callable[[list[Manifest]], list[str]]] = [reach.complaints, upkeep.complaints]
    assert [complaint for check in checks for complaint in check(found)] != []
