"""The fields of KServe's, KEDA's and the Prometheus Operator's kinds that their documentation lists.

Core kinds are held against Kubernetes' own schemas (kubernetes-validate). These three define kinds of their own, whose
schemas no package here has: below stand the fields that we were able to read up, from KServe's API reference (v1alpha1
ServingRuntime, v1beta1 InferenceService), KEDA's "ScaledObject specification" and "Prometheus" scaler, 2.17, and the
operator's API reference (v1 PodMonitor). A field that is not listed is taken for a mistake. Containers in them are
Kubernetes' own again, and are checked as such.
"""

import jsonschema
import kubernetes_validate

from tests.deploy.manifests import Manifest, identity

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

_POD_MONITOR = _kind(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    _object(
        {
            "selector": _object({"matchLabels": _TEXTS}),
            "podMetricsEndpoints": _list(
                _object(
                    {"port": _TEXT},
                    {
                        "path": _TEXT, "interval": {"type": "string", "pattern": r"^\d+(s|m)$"}, "scrapeTimeout": _TEXT,
                        "relabelings": _list(
                            _object(
                                {"sourceLabels": _list(_TEXT)},
                                {"targetLabel": _TEXT, "regex": _TEXT, "action": _TEXT, "replacement": _TEXT},
                            )
                        ),
                    },
                )
            ),
        },
        {"jobLabel": _TEXT, "podTargetLabels": _list(_TEXT), "namespaceSelector": {"type": "object"}},
    ),
)  # fmt: skip

#: By apiVersion and kind.
_LISTED = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _POD_MONITOR,
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _SERVING_RUNTIME,
    ("serving.kserve.io/v1beta1", "InferenceService"): _INFERENCE_SERVICE,
    ("keda.sh/v1alpha1", "ScaledObject"): _SCALED_OBJECT,
}


def check(manifest: Manifest, version: str) -> None:
    """Hold a manifest against the schema there is for it; raise a ValidationError of either library."""
    listed = _LISTED.get(identity(manifest))
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
