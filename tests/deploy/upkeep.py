"""How servers on Kubernetes are started, watched, replaced and scaled: what a set of manifests gets wrong about it.

Each function takes what kustomize makes, parsed, and returns complaints. Bounds come from the server's own settings.
"""

from collections.abc import Iterator
from decimal import Decimal

import yaml

from serving import supervisor
from serving.settings import Settings
from tests.deploy.manifests import VERSIONS, Manifest, Pod, of_kind, pods, settings
from tests.deploy.prometheus import FOLDER

#: What a supervisor gives its processes after the drain before it kills them; and what it has for itself after that.
_EXIT_SECONDS, _SPARE_SECONDS = supervisor._EXIT_GRACE_SECONDS, 5
#: Variables that libraries read.
_NOT_OURS = {"HOME", "CUDA_CACHE_PATH"}
_RESOURCES = {"cpu", "memory", "nvidia.com/gpu"}
#: A probe that waits for less than this takes a server that is under full load for one that is not there.
_SLOW_SECONDS = 5


def complaints(manifests: list[Manifest]) -> list[str]:
    """Return everything that would start, stop or replace servers otherwise than docs/operations.md says."""
    of_pods = (_settings, _probes, _restricted, _resources)
    of_all = (_rollout, _selectors, _budget, _namespace, _autoscaling, _kserve)
    return [
        *(complaint for pod in pods(manifests) for check in of_pods for complaint in check(pod)),
        *(complaint for check in of_all for complaint in check(manifests)),
    ]


def _settings(pod: Pod) -> Iterator[str]:
    others = {variable["name"] for variable in pod.container["env"] if not variable["name"].startswith("SAMEWAY_")}
    if others - _NOT_OURS:
        yield f"{pod.name}: nobody reads {sorted(others - _NOT_OURS)}"
    try:
        known = _known(pod)
    except ValueError as error:
        yield f"{pod.name}: {error}"
        return
    # The engine of several front ends ends when they have.
    drains = (2 if known.frontends else 1) * (known.drain_seconds + _EXIT_SECONDS)
    if pod.grace_seconds < known.drain_delay_seconds + drains + _SPARE_SECONDS:
        yield f"{pod.name}: killed after {pod.grace_seconds} s, while it drains"
    if known.drain_delay_seconds < _SLOW_SECONDS:
        yield f"{pod.name}: nodes go on sending when the port is closed"


def _known(pod: Pod) -> Settings:
    """Return what the server is told; raise ValueError for what is no setting of its own, or none that it takes."""
    given = settings(pod.container)
    unknown = set(given) - set(Settings.model_fields)
    if unknown:
        raise ValueError(f"no settings: {sorted(unknown)}")
    return Settings.model_validate(given)


def _probes(pod: Pod) -> Iterator[str]:
    try:
        given = _known(pod)
    except ValueError:  # which is complained of already
        return
    start, ready, live = (pod.container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe"))
    paths = [probe["httpGet"]["path"] for probe in (start, ready, live)]
    if paths != ["/v2/health/ready", "/v2/health/ready", "/v2/health/live"]:
        yield f"{pod.name}: probes ask {paths}"
    if _patience(start) < given.opening_seconds:
        yield f"{pod.name}: killed after {_patience(start)} s, while a version may be opened for {given.opening_seconds:g}"
    if not 10 <= _patience(ready) <= 60 or ready["failureThreshold"] < 3:
        yield f"{pod.name}: taken out by one slow answer, or left in for minutes: readiness after {_patience(ready)} s"
    if _patience(live) <= given.hang_exit_seconds:
        yield f"{pod.name}: killed before it could end by itself, with answers to those who wait"
    if (
        min(probe["timeoutSeconds"] for probe in (start, ready)) < _SLOW_SECONDS
        or live["timeoutSeconds"] < 2 * _SLOW_SECONDS
    ):
        yield f"{pod.name}: a probe does not wait as long as an answer takes under full load"
    deadline = pod.manifest["spec"].get("progressDeadlineSeconds")
    if deadline is not None and deadline <= _patience(start):
        yield f"{pod.name}: a rollout is called failed while a server may still start"


def _patience(probe: Manifest) -> int:
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def _restricted(pod: Pod) -> Iterator[str]:
    """Complain of what the Pod Security Standard `restricted` refuses, and of a root that can be written."""
    own = pod.container["securityContext"]
    context = {**pod.spec.get("securityContext", {}), **own}
    demanded = {
        "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    for name, value in demanded.items():
        if context.get(name) != value:
            yield f"{pod.name}: {name}: expected {value}, found {context.get(name)}"
    if {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec):
        yield f"{pod.name}: shares something with its host"
    if pod.kind == "Deployment" and pod.spec.get("automountServiceAccountToken") is not False:
        yield f"{pod.name}: is handed a token that it has no use for"
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    if not all(set(volume) - {"name"} <= allowed for volume in pod.spec.get("volumes", [])):
        yield f"{pod.name}: a volume that restricted pods may not have"


def _resources(pod: Pod) -> Iterator[str]:
    resources = pod.container["resources"]
    names = {name for part in resources.values() for name in part}
    if names - _RESOURCES:
        yield f"{pod.name}: resources that no node has: {sorted(names - _RESOURCES)}"
    if "memory" not in resources["limits"] or "cpu" in resources["limits"]:
        yield f"{pod.name}: expected a limit of memory and none of processor time"
    tolerated = {one["key"] for one in pod.spec.get("tolerations", [])}
    if tolerated != names & {"nvidia.com/gpu"}:
        yield f"{pod.name}: tolerates {sorted(tolerated)}, asks for {sorted(names)}"
    given = settings(pod.container)
    if int(given.get("workers", given.get("frontends", "1"))) > Decimal(resources["requests"]["cpu"]):
        yield f"{pod.name}: more processes than processors"


def _rollout(manifests: list[Manifest]) -> Iterator[str]:
    """Complain where a rollout stops more than one server at once, or cannot go on."""
    for deployment in of_kind(manifests, "Deployment"):
        steps = deployment["spec"]["strategy"]["rollingUpdate"]
        if sorted((steps["maxSurge"], steps["maxUnavailable"]), key=str) != [0, 1]:
            yield f"{deployment['metadata']['name']}: not one server at a time: {steps}"


def _selectors(manifests: list[Manifest]) -> Iterator[str]:
    """Complain where a Deployment takes the pods of another one for its own."""
    for deployment in of_kind(manifests, "Deployment"):
        name = deployment["metadata"]["name"]
        for pod in pods(manifests):
            if pod.chosen_by(deployment["spec"]["selector"]["matchLabels"]) != (pod.name == name):
                yield f"Deployment {name} chooses {pod.name}" if pod.name != name else f"Deployment {name} has no pods"


def _budget(manifests: list[Manifest]) -> Iterator[str]:
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        spec = budget["spec"]
        if spec.get("maxUnavailable") != 1 or "minAvailable" in spec:
            yield "PodDisruptionBudget: expected maxUnavailable 1: with 0 no node can be emptied"
        for pod in pods(manifests):
            chosen = pod.chosen_by(spec["selector"]["matchLabels"])
            if chosen != (pod.labels.get("sameway/track") == "stable"):
                yield f"PodDisruptionBudget {'counts' if chosen else 'does not count'} {pod.name}"


def _namespace(manifests: list[Manifest]) -> Iterator[str]:
    for namespace in of_kind(manifests, "Namespace"):
        labels = namespace["metadata"]["labels"]
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "Namespace: expected restricted pods alone"
        if labels.get("pod-security.kubernetes.io/enforce-version") != f"v{VERSIONS[0]}":
            yield f"Namespace: expected enforce-version v{VERSIONS[0]}, the oldest whose schemas are asked"


def queue_share(quantity: str) -> Decimal:
    """Return a share of a queue as a number, from Kubernetes' way of writing it or KEDA's."""
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)


def _autoscaling(manifests: list[Manifest]) -> Iterator[str]:
    """Complain of thresholds that are never reached, or always: more servers must come before somebody is woken."""
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    grows = next(rule["expr"] for rule in rules if rule["alert"] == "SamewayQueueGrows")
    woken = Decimal(grows.split("> ")[1].split(" *")[0])
    shares: dict[str, Decimal] = {}
    busy: dict[str, Decimal] = {}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "Pods":
                shares["HPA"] = queue_share(metric["pods"]["target"]["averageValue"])
            else:
                busy["HPA"] = Decimal(metric["resource"]["target"]["averageUtilization"]) / 100
    for scaler in of_kind(manifests, "ScaledObject"):
        (pod,) = pods(manifests)
        for trigger in scaler["spec"]["triggers"]:
            threshold = Decimal(trigger["metadata"]["threshold"])
            if trigger["name"] == "queue":
                shares["KEDA"] = threshold
            else:
                busy["KEDA"] = threshold / Decimal(pod.container["resources"]["requests"]["cpu"])
            if trigger["metadata"]["serverAddress"].split(".")[1].partition(":")[0] != "monitoring":
                yield "KEDA asks a Prometheus that does not run where NetworkPolicy expects it"
    for who, share in shares.items():
        if not woken / 4 <= share < woken:
            yield f"{who}: a queue {share} full: expected less than SamewayQueueGrows' {woken}, and not next to nothing"
    for who, share in busy.items():
        if not Decimal("0.5") <= share <= Decimal("0.8"):
            yield f"{who}: processors {share} busy: expected 0.5 to 0.8 of those that are requested"
    if len(shares) != len(busy):
        yield "an autoscaler looks at queues alone, or at processors alone"
    for scaler in (*of_kind(manifests, "HorizontalPodAutoscaler"), *of_kind(manifests, "ScaledObject")):
        (deployment,) = of_kind(manifests, "Deployment")
        if "replicas" in deployment["spec"]:
            yield "an apply would set back what the autoscaler has decided"
        if scaler["spec"]["scaleTargetRef"]["name"] != deployment["metadata"]["name"]:
            yield "the autoscaler scales nothing"
        if int(scaler["spec"].get("minReplicas", scaler["spec"].get("minReplicaCount"))) < 2:
            yield "the autoscaler may leave a single server"


def _kserve(manifests: list[Manifest]) -> Iterator[str]:
    """Complain of names in an InferenceService that nothing else bears."""
    runtimes = {runtime["metadata"]["name"]: runtime["spec"] for runtime in of_kind(manifests, "ServingRuntime")}
    claims = {f"pvc://{claim['metadata']['name']}" for claim in of_kind(manifests, "PersistentVolumeClaim")}
    for service in of_kind(manifests, "InferenceService"):
        predictor = service["spec"]["predictor"]
        model = predictor["model"]
        runtime = runtimes.get(model["runtime"])
        if runtime is None:
            yield f"InferenceService: no runtime {model['runtime']}"
            continue
        formats = {(one["name"], one["version"]) for one in runtime["supportedModelFormats"]}
        if (model["modelFormat"]["name"], model["modelFormat"]["version"]) not in formats:
            yield f"InferenceService: the runtime does not know the format {model['modelFormat']}"
        if model["protocolVersion"] not in runtime["protocolVersions"]:
            yield f"InferenceService: the runtime does not speak {model['protocolVersion']}"
        if model["storageUri"] not in claims:
            yield f"InferenceService: no claim for {model['storageUri']}"
        if predictor["minReplicas"] < 2:
            yield "InferenceService: a single server"
    for runtime in runtimes.values():
        (container,) = runtime["containers"]
        if settings(container)["repository"] != "/mnt/models":
            yield "ServingRuntime: KServe mounts at /mnt/models"
