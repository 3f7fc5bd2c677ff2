"""What the workflow's targets do: the Makefile's recipes as make expands them, and when a release is published."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import ROOT, said

_WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
#: What a target of the workflow's runs, of its own recipe, and nothing that hides how that ends.
_RUNS = {
    "lint": [".venv/bin/ruff check .", ".venv/bin/ruff format --check .", ".venv/bin/hadolint Dockerfile"],
    "types": [".venv/bin/mypy"],
    "unit": ["OMP_NUM_THREADS=1 .venv/bin/pytest -n 3 --dist worksteal"],
    "load-smoke": [".venv/bin/python -m proofs.load_smoke"],
    "audit": [".venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt"],
}


def recipe(makefile: str, target: str) -> list[str]:
    """Return the lines of a target's recipe, with the variables of the Makefile filled in."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    assert found is not None, f"no target {target}"
    known = dict(re.findall(r"^(\w+) *[:?]?= *(.*)$", makefile, re.MULTILINE))
    lines = found[1].replace("\t", "").splitlines()
    while any("$(" in line for line in lines):
        filled = [re.sub(r"\$\((\w+)\)", lambda name: known.get(name[1], name[0]), line) for line in lines]
        if filled == lines:
            break
        lines = filled
    return lines


def complaints(makefile: str) -> list[str]:
    """Return the targets that do not run what they are for."""
    return [f"{target}: {recipe(makefile, target)}" for target, lines in _RUNS.items() if recipe(makefile, target) != lines]


def test_each_target_runs_what_it_is_for() -> None:
    assert complaints((ROOT / "Makefile").read_text()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("\t$(BIN)/python -m proofs.load_smoke\n", "\ttrue\n"),
        ("-r constraints.txt\n\n", "--help; true\n\n"),
        ("$(BIN)/ruff check .\n", "$(BIN)/ruff check . || true\n"),
        ("\t$(BIN)/mypy\n", "\t-$(BIN)/mypy\n"),
        ("OMP_NUM_THREADS=1 $(BIN)/pytest -n 3", "OMP_NUM_THREADS=1 $(BIN)/pytest --collect-only -n 3"),
    ],
)
def test_a_target_that_does_something_else_is_noticed(right: str, wrong: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert right in makefile
    assert complaints(makefile.replace(right, wrong)) != []


def published_when(workflow: str) -> set[str]:
    """Return the conditions that must all hold before the workflow publishes."""
    condition = str(yaml.safe_load(workflow)["jobs"]["publish"]["if"])
    return set(condition.split(" && "))


def test_a_release_is_published_of_a_tag_and_where_there_is_a_registry() -> None:
    assert published_when(_WORKFLOW.read_text()) == {"startsWith(github.ref, 'refs/tags/v')", "vars.REGISTRY != ''"}


def _publish(folder: Path, *, fails_at: str = "never") -> "subprocess.CompletedProcess[str]":
    """Run `make publish` with a program in docker's place that writes down what it is told, and fails at a word."""
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {folder}/told\ncase "$*" in *{fails_at}*) exit 1;; esac\n')
    docker.chmod(0o755)
    return subprocess.run(
        ["make", "publish", "IMAGE=registry.example.com/sameway", "TARGETS=serve", f"DOCKER={docker}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def _told(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "told").read_text().splitlines()]


def test_what_is_published_is_built_first(tmp_path: Path) -> None:
    done = _publish(tmp_path)
    assert done.returncode == 0, said(done)
    assert _told(tmp_path) == ["build", "push"]
    (pushed,) = [line for line in (tmp_path / "told").read_text().splitlines() if line.startswith("push")]
    version = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    assert pushed == f"push registry.example.com/sameway:serve-{version}"


def test_an_image_that_cannot_be_built_is_not_published(tmp_path: Path) -> None:
    assert _publish(tmp_path, fails_at="build").returncode != 0
    assert _told(tmp_path) == ["build"]


def test_what_cannot_be_pushed_is_an_error(tmp_path: Path) -> None:
    assert _publish(tmp_path, fails_at="push").returncode != 0
