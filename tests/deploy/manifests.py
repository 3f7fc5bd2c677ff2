"""Kubernetes' objects as kustomize makes them, and how the tests read them: a manifest of a kind, the pods that it makes."""

import functools
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, said, tool

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())

#: What people apply, by name: the folders of each.
SETS = {
    "base": [FOLDER / "base"],
    **{name: [FOLDER / "overlays" / name] for name in OVERLAYS},
    "cpu with canary": [FOLDER / "overlays" / "cpu", FOLDER / "overlays" / "canary"],
    "kserve": [FOLDER / "kserve"],
}

#: The oldest and the newest Kubernetes whose schemas we ask.
VERSIONS = ("1.31", "1.37")

Manifest = dict[str, Any]  # Any: YAML


def made(folder: Path) -> list[Manifest]:
    """Return what kustomize makes of a folder."""
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, said(done)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@functools.cache
def _text_of(name: str) -> str:
    """Return what kustomize makes of a set, as JSON: kustomize takes its time, and the tests change what they are given."""
    return json.dumps([manifest for folder in SETS[name] for manifest in made(folder)])


def made_set(name: str) -> list[Manifest]:
    """Return the manifests of one of SETS, for the caller alone."""
    found: list[Manifest] = json.loads(_text_of(name))
    return found


def identity(manifest: Manifest) -> tuple[str, str]:
    """Return apiVersion and kind."""
    return manifest["apiVersion"], manifest["kind"]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the one manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


@dataclass(frozen=True)
class Pod:
    """The pods that a Deployment or a ServingRuntime makes, as far as the checks ask."""

    manifest: Manifest
    spec: Manifest
    labels: Mapping[str, str]
    grace_seconds: int

    @property
    def name(self) -> str:
        """The name of what makes them."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where they run."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def kind(self) -> str:
        """What makes them."""
        return str(self.manifest["kind"])

    @property
    def container(self) -> Manifest:
        """Their one container."""
        return container(self.manifest)

    def chosen_by(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a selector chooses them."""
        return labels.items() <= self.labels.items()

    def has_port(self, port: int | str) -> bool:
        """Tell whether a name or a number is that of the container's port."""
        return any(port in (one["containerPort"], one.get("name")) for one in self.container["ports"])


def pods(manifests: list[Manifest]) -> list[Pod]:
    """Return the servers' pods of a set of manifests."""
    found = []
    for one in of_kind(manifests, "Deployment"):
        template = one["spec"]["template"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        found.append(Pod(one, template["spec"], template["metadata"]["labels"], grace))
    for one in of_kind(manifests, "ServingRuntime"):
        graces = [
            service["spec"]["predictor"]["terminationGracePeriodSeconds"]
            for service in of_kind(manifests, "InferenceService")
        ]
        found.append(Pod(one, one["spec"], one["spec"].get("labels", {}), min(graces)))
    return found


def container(manifest: Manifest) -> Manifest:
    """Return the one container of a Deployment or a ServingRuntime."""
    spec = manifest["spec"]
    (found,) = (spec["template"]["spec"] if "template" in spec else spec)["containers"]
    result: Manifest = found
    return result


def settings(one: Manifest) -> dict[str, str]:
    """Return the settings that a container's environment gives, by the names of their fields."""
    given = {variable["name"]: variable["value"] for variable in one["env"]}
    return {name.removeprefix("SAMEWAY_").lower(): value for name, value in given.items() if name.startswith("SAMEWAY_")}
