"""Who reaches whom on Kubernetes: what a set of manifests gets wrong about ports, addresses, labels and names.

Each function takes what kustomize makes, parsed, and returns complaints: none for manifests that fit together.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deploy.manifests import Manifest, of_kind, pods, settings
from tests.deploy.prometheus import FOLDER

#: Whom a server must let in, as the selectors of a NetworkPolicy say it, and who that is.
_WELCOME: list[tuple[Manifest, str]] = [
    ({"podSelector": {}}, "pods of the namespace"),
    ({"namespaceSelector": {"matchLabels": {"sameway/client": "true"}}}, "clients of other namespaces"),
    ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}, "Prometheus"),
]
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def complaints(manifests: list[Manifest]) -> list[str]:
    """Return everything that keeps requests, probes or scrapes from a server, or lets more in than is meant."""
    return [
        *_listening(manifests), *_services(manifests), *_policies(manifests), *_scraped(manifests), *_volumes(manifests),
        *_together(manifests),
    ]  # fmt: skip


def _listening(manifests: list[Manifest]) -> Iterator[str]:
    """The server listens where Kubernetes thinks that it does, and not on loopback."""
    for pod in pods(manifests):
        given = settings(pod.container)
        if given.get("host") != "0.0.0.0":
            yield f"{pod.name}: SAMEWAY_HOST: expected 0.0.0.0, found {given.get('host')}"
        if [str(port["containerPort"]) for port in pod.container["ports"]] != [given.get("port")]:
            yield f"{pod.name}: containerPort is not SAMEWAY_PORT, {given.get('port')}"
        for probe in _PROBES:
            asked = pod.container[probe]["httpGet"]["port"]
            if not pod.has_port(asked):
                yield f"{pod.name}: {probe} asks port {asked}, which is not the container's"


def _services(manifests: list[Manifest]) -> Iterator[str]:
    for service in of_kind(manifests, "Service"):
        for pod in pods(manifests):
            if not pod.chosen_by(service["spec"]["selector"]):
                yield f"Service {service['metadata']['name']} does not choose {pod.name}"
            for port in service["spec"]["ports"]:
                if not pod.has_port(port["targetPort"]):
                    yield f"Service {service['metadata']['name']}: {pod.name} has no port {port['targetPort']}"


def _policies(manifests: list[Manifest]) -> Iterator[str]:
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        if set(spec["policyTypes"]) != {"Ingress", "Egress"}:
            yield "NetworkPolicy: policyTypes: expected both"
        if spec["egress"]:
            yield "NetworkPolicy: the server asks nobody, and may"
        (rule,) = spec["ingress"]
        for selector, who in _WELCOME:
            if selector not in rule["from"]:
                yield f"NetworkPolicy: {who} are shut out"
        if len(rule["from"]) != len(_WELCOME):
            yield "NetworkPolicy: others are let in"
        for pod in pods(manifests):
            if not pod.chosen_by(spec["podSelector"]["matchLabels"]):
                yield f"NetworkPolicy does not guard {pod.name}"
            if not all(pod.has_port(port["port"]) for port in rule["ports"]):
                yield f"NetworkPolicy opens another port than that of {pod.name}"


def _scraped(manifests: list[Manifest]) -> Iterator[str]:
    """Prometheus keeps pods by a label and by their port's name (deploy/prometheus/kubernetes.yml), in some namespaces."""
    (job,) = yaml.safe_load((FOLDER / "kubernetes.yml").read_text())["scrape_configs"]
    (discovery,) = job["kubernetes_sd_configs"]
    for pod in pods(manifests):
        found: dict[str, Any] = {
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": pod.labels.get("app.kubernetes.io/name", ""),
            "__meta_kubernetes_pod_container_port_name": pod.container["ports"][0].get("name", ""),
        }
        kept = {rule["source_labels"][0]: rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"}
        for label, pattern in kept.items():
            if not re.fullmatch(pattern, found[label]):
                yield f"Prometheus does not keep {pod.name}: {label} is {found[label]!r}"
        if not pod.labels.get("sameway/track"):
            yield f"{pod.name}: no sameway/track: its figures are those of no track"
        if pod.namespace not in discovery["namespaces"]["names"]:
            yield f"Prometheus does not look into the namespace {pod.namespace}"
    for binding in of_kind(manifests, "RoleBinding"):
        roles = {role["metadata"]["name"]: role["rules"] for role in of_kind(manifests, "Role")}
        verbs = {
            verb
            for rule in roles.get(binding["roleRef"]["name"], [])
            if "pods" in rule["resources"]
            for verb in rule["verbs"]
        }
        if verbs != {"get", "list", "watch"}:
            yield f"RoleBinding {binding['metadata']['name']}: Prometheus may {sorted(verbs)} pods"
        if [one["namespace"] for one in binding["subjects"]] != ["monitoring"]:
            yield f"RoleBinding {binding['metadata']['name']}: not for who runs in monitoring"


def _volumes(manifests: list[Manifest]) -> Iterator[str]:
    claims = {claim["metadata"]["name"] for claim in of_kind(manifests, "PersistentVolumeClaim")}
    for pod in pods(manifests):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for mount in pod.container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{pod.name}: no volume {mount['name']}"
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{pod.name}: no claim {claim}"


def _together(manifests: list[Manifest]) -> Iterator[str]:
    """Everything lies in one namespace, which is made here unless another set of manifests has made it."""
    spaces = {one["metadata"]["namespace"] for one in manifests if one["kind"] != "Namespace"}
    made = {one["metadata"]["name"] for one in of_kind(manifests, "Namespace")}
    if len(spaces) != 1 or not made <= spaces:
        yield f"namespaces: {sorted(spaces)}, made here {sorted(made)}"
    for pod in pods(manifests):
        account = pod.spec.get("serviceAccountName")
        known = {one["metadata"]["name"] for one in of_kind(manifests, "ServiceAccount")}
        if made and account is not None and account not in known:
            yield f"{pod.name}: no service account {account}"
