"""Kubernetes' objects as kustomize makes them, and the fields of KServe's and KEDA's that their documentation lists.

Core kinds are held against Kubernetes' own schemas (kubernetes-validate). KServe and KEDA define kinds of their own, whose
schemas no package here has: below stand the fields that we were able to read up, from KServe's API reference (v1alpha1
ServingRuntime, v1beta1 InferenceService) and KEDA's "ScaledObject specification" and "Prometheus" scaler, 2.17. A field that
is not listed is taken for a mistake. Containers in them are Kubernetes' own again, and are checked as such.
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, said, tool

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())

#: The oldest and the newest Kubernetes whose schemas we ask.
VERSIONS = ("1.31", "1.37")

Manifest = dict[str, Any]  # Any: YAML

_TEXT, _WHOLE, _TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _object(required: Manifest, optional: Manifest | None = None) -> Manifest:
    """Return the schema of an object with these members and no others."""
    members = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": members, "additionalProperties": False}


def _list(items: Manifest) -> Manifest:
    return {"type": "array", "items": items, "minItems": 1}


def _kind(version: str, kind: str, spec: Manifest) -> Manifest:
    metadata = _object({"name": _TEXT}, {"namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS})
    return _object({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


_CONTAINER = {"type": "object", "required": ["name"]}  # Kubernetes' own
_PROTOCOL = {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}

_SERVING_RUNTIME = _kind(
    "serving.kserve.io/v1alpha1",
    "ServingRuntime",
    _object(
        {"containers": _list(_CONTAINER)},
        {
            "supportedModelFormats": _list(
                _object(
                    {"name": _TEXT},
                    {"version": _TEXT, "autoSelect": _TRUTH, "priority": {"type": "integer", "minimum": 1}},
                )
            ),
            "protocolVersions": _list(_PROTOCOL), "multiModel": _TRUTH, "disabled": _TRUTH, "labels": _TEXTS,
            "annotations": _TEXTS, "nodeSelector": _TEXTS, "tolerations": _list({"type": "object"}),
            "affinity": {"type": "object"}, "volumes": _list({"type": "object"}),
            "imagePullSecrets": _list({"type": "object"}), "hostIPC": _TRUTH,
        },
    ),
)  # fmt: skip

_MODEL = _object(
    {"modelFormat": _object({"name": _TEXT}, {"version": _TEXT})},
    {"runtime": _TEXT, "protocolVersion": _PROTOCOL, "storageUri": _TEXT, "runtimeVersion": _TEXT,
     "storage": {"type": "object"}, "resources": {"type": "object"}, "env": _list({"type": "object"}), "args": _list(_TEXT)},
)  # fmt: skip
_INFERENCE_SERVICE = _kind(
    "serving.kserve.io/v1beta1",
    "InferenceService",
    _object(
        {
            "predictor": _object(
                {"model": _MODEL},
                {
                    "minReplicas": _WHOLE, "maxReplicas": _WHOLE, "scaleTarget": _WHOLE,
                    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]}, "containerConcurrency": _WHOLE,
                    "timeout": _WHOLE, "canaryTrafficPercent": {"type": "integer", "minimum": 0, "maximum": 100},
                    "labels": _TEXTS, "annotations": _TEXTS, "deploymentStrategy": {"type": "object"},
                    # Of the pod, as Kubernetes has them.
                    "terminationGracePeriodSeconds": _WHOLE, "serviceAccountName": _TEXT, "nodeSelector": _TEXTS,
                    "tolerations": _list({"type": "object"}), "securityContext": {"type": "object"},
                },
            )
        }
    ),
)  # fmt: skip

_NUMBER_AS_TEXT = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
_TRUTH_AS_TEXT = {"enum": ["true", "false"]}
_SCALED_OBJECT = _kind(
    "keda.sh/v1alpha1",
    "ScaledObject",
    _object(
        {
            "scaleTargetRef": _object(
                {"name": _TEXT}, {"apiVersion": _TEXT, "kind": _TEXT, "envSourceContainerName": _TEXT}
            ),
            "triggers": _list(
                _object(
                    {
                        "type": {"const": "prometheus"},
                        "metadata": _object(
                            {"serverAddress": _TEXT, "query": _TEXT, "threshold": _NUMBER_AS_TEXT},
                            {"activationThreshold": _NUMBER_AS_TEXT, "namespace": _TEXT, "customHeaders": _TEXT,
                             "ignoreNullValues": _TRUTH_AS_TEXT, "queryParameters": _TEXT, "unsafeSsl": _TRUTH_AS_TEXT},
                        ),
                    },
                    {"name": _TEXT, "metricType": {"enum": ["AverageValue", "Value"]}, "useCachedMetrics": _TRUTH},
                )
            ),
        },
        {
            "pollingInterval": _WHOLE, "cooldownPeriod": _WHOLE, "initialCooldownPeriod": _WHOLE,
            "idleReplicaCount": {"const": 0}, "minReplicaCount": _WHOLE, "maxReplicaCount": _WHOLE,
            "fallback": _object(
                {"failureThreshold": _WHOLE, "replicas": _WHOLE},
                {"behavior": {"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]}},
            ),
            "advanced": _object(
                {},
                {
                    "restoreToOriginalReplicaCount": _TRUTH,
                    "horizontalPodAutoscalerConfig": _object({}, {"name": _TEXT, "behavior": {"type": "object"}}),
                },
            ),
        },
    ),
)  # fmt: skip

#: By apiVersion and kind.
LISTED = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _SERVING_RUNTIME,
    ("serving.kserve.io/v1beta1", "InferenceService"): _INFERENCE_SERVICE,
    ("keda.sh/v1alpha1", "ScaledObject"): _SCALED_OBJECT,
}


def made(folder: Path) -> list[Manifest]:
    """Return what kustomize makes of a folder."""
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, said(done)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def identity(manifest: Manifest) -> tuple[str, str]:
    """Return apiVersion and kind."""
    return manifest["apiVersion"], manifest["kind"]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the one manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def container(manifest: Manifest) -> Manifest:
    """Return the one container of a Deployment or a ServingRuntime."""
    spec = manifest["spec"]
    (found,) = (spec["template"]["spec"] if "template" in spec else spec)["containers"]
    result: Manifest = found
    return result


def settings(one: Manifest) -> dict[str, str]:
    """Return the settings that a container's environment gives, by the names of their fields."""
    return {variable["name"].removeprefix("SAMEWAY_").lower(): variable["value"] for variable in one["env"]}
