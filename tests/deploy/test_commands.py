"""Commands of docs/operations.md that cannot be run here, for want of containers or of a cluster: compose's and kubectl's.

Each must name files, services, namespaces and objects that there are.
"""

import re
import shlex

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.stack import compose
from tests.deploy.tools import DEPLOY, ROOT, said

PAGE = ROOT / "docs" / "operations.md"
_VERSION = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]


def _commands(program: str) -> list[str]:
    """Return the commands of a program that the page shows in a line of their own, or in a sentence."""
    text = PAGE.read_text()
    lines = re.findall(rf"^(?:\w+=\S+ )?{program} .*$", text, re.MULTILINE)
    spaced = program.replace(" ", r"\s+")  # a sentence may go on in the next line
    in_text = [re.sub(r"\s+", " ", found) for found in re.findall(rf"`({spaced}\s[^`]*)`", text)]
    return sorted({re.sub(r"\s+#.*", "", line) for line in (*lines, *in_text)})


_COMPOSE, _KUBECTL = _commands("docker compose"), _commands("kubectl")


def wrong_with_compose(command: str) -> list[str]:
    """Return what is wrong with a command of compose's: the file, the services and the image that it names must be there."""
    words = shlex.split(command)
    variables = [words.pop(0) for word in list(words) if re.match(r"[A-Z_]+=", word)]
    if words[:4] != ["docker", "compose", "-f", "deploy/compose.yaml"]:
        return [f"from the project's folder it needs -f deploy/compose.yaml: {command}"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    said = [f"the Makefile makes no image {one}" for one in variables if one != f"SAMEWAY_IMAGE=sameway:serve-{_VERSION}"]
    act, *rest = words[4:]
    named = [word for word in rest if not word.startswith("-")]
    named = named[:1] if act == "exec" else named
    said += [f"no service {name}" for name in named if name not in services]
    if act == "exec" and rest[1:2] == ["nginx"]:
        written = str(services["nginx"]["command"])
        said += [f"nginx does not run with {rest[3]}"] * (f"-c {rest[3]} " not in written)
    if act == "up" and "--no-deps" in rest and ("--no-build" not in rest or not variables):
        said.append("the image before would be overwritten")
    return said


def wrong_with_kubectl(command: str) -> list[str]:
    """Return what is wrong with a command of kubectl's: it names a folder that is there, or an object and its namespace."""
    words = shlex.split(command)
    if "-k" in words:
        folder = words[words.index("-k") + 1]
        return [] if (ROOT / folder / "kustomization.yaml").exists() else [f"no folder {folder}"]
    if words[1] == "kustomize":
        return []
    if "-n" not in words:
        return [f"expected -n: {command}"]
    space = words[words.index("-n") + 1]
    kind, _, name = words[-1].partition("/")
    there = {
        (one["metadata"].get("namespace"), one["kind"].lower(), one["metadata"]["name"]) for one in manifests.made_set("cpu")
    }
    return [] if (space, kind, name) in there else [f"no {words[-1]} in {space}"]


@pytest.mark.parametrize("command", _COMPOSE)
def test_a_command_of_composes_names_what_there_is(command: str) -> None:
    assert wrong_with_compose(command) == []


@pytest.mark.parametrize("command", _KUBECTL)
def test_a_command_of_kubectls_names_what_there_is(command: str) -> None:
    assert wrong_with_kubectl(command) == []


def test_the_page_shows_some() -> None:
    assert len(_COMPOSE) >= 6
    assert len(_KUBECTL) >= 4


@pytest.mark.parametrize(
    "command",
    [
        "docker compose up -d --no-deps --no-build fastapi",
        "docker compose -f deploy/compose.yaml restart ngingx",
        "docker compose -f deploy/compose.yaml up -d --no-deps --build fastapi",
        "docker compose -f deploy/compose.yaml exec nginx nginx -c /etc/nginx/nginx.conf -s reload",
        "SAMEWAY_IMAGE=sameway:serve-9 docker compose -f deploy/compose.yaml up -d --no-deps --no-build fastapi",
    ],
)
def test_a_mistake_in_one_of_composes_is_noticed(command: str) -> None:
    assert wrong_with_compose(command) != []


@pytest.mark.parametrize(
    "command",
    [
        "kubectl rollout undo deployment/sameway",
        "kubectl rollout undo -n sameway deployment/another",
        "kubectl rollout undo -n another deployment/sameway",
        "kubectl apply -k deploy/kubernetes/overlays/gpus",
    ],
)
def test_a_mistake_in_one_of_kubectls_is_noticed(command: str) -> None:
    assert wrong_with_kubectl(command) != []


def test_compose_reads_its_file_with_the_variables_that_the_commands_give() -> None:
    done = compose("config", GRAFANA_PASSWORD="of-a-test", SAMEWAY_IMAGE=f"sameway:serve-{_VERSION}")
    assert done.returncode == 0, said(done)
    services = yaml.safe_load(done.stdout)["services"]
    assert {services[name]["image"] for name in ("fastapi", "flask")} == {f"sameway:serve-{_VERSION}"}
