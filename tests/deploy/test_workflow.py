"""This project's workflow on GitHub and the one that the docs offer: actionlint has nothing to say, and ours does nothing
that the Makefile does not do.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.tools import ROOT, said

FILE = ROOT / ".github" / "workflows" / "ci.yml"

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_PERMISSIONS = {"type": "object", "additionalProperties": {"enum": ["read", "write", "none"]}}


def _object(required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    members = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": members, "additionalProperties": False}


_NAMES = {"name": _TEXT, "id": _TEXT, "if": _TEXT, "env": _TEXTS}
_STEP = {
    "oneOf": [
        _object({"run": _TEXT}, _NAMES),
        # By version: a name of an owner, of an action, and a tag.
        _object({"uses": {"type": "string", "pattern": r"^[\w-]+/[\w-]+@v\d+(\.\d+)*$"}}, {**_NAMES, "with": _TEXTS}),
    ]
}
_JOB = _object(
    {
        "runs-on": {"type": "string", "pattern": r"^ubuntu-\d\d\.04$"},
        "timeout-minutes": {"type": "integer", "minimum": 1, "maximum": 120},
        "steps": {"type": "array", "items": _STEP, "minItems": 1},
    },
    {
        "if": _TEXT, "needs": {"type": "array", "items": _TEXT}, "env": _TEXTS, "environment": _TEXT,
        "permissions": _PERMISSIONS,
    },
)  # fmt: skip
#: What this workflow uses of GitHub's "Workflow syntax for GitHub Actions". YAML 1.1 reads the key `on` as true.
_SCHEMA = _object(
    {
        "name": _TEXT,
        "on": _object(
            {"pull_request": {"type": "null"}},
            {"push": _object({}, {name: {"type": "array", "items": _TEXT} for name in ("branches", "tags")})},
        ),
        "permissions": _PERMISSIONS,
        "jobs": {"type": "object", "additionalProperties": _JOB, "minProperties": 1},
    },
    {"concurrency": _object({"group": _TEXT}, {"cancel-in-progress": {"type": ["boolean", "string"]}}), "env": _TEXTS},
)


def read() -> dict[str, Any]:  # Any: YAML
    found = yaml.safe_load(FILE.read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def runs() -> list[tuple[str, str]]:
    """Return job and line of every step that runs something."""
    return [(name, step["run"]) for name, job in read()["jobs"].items() for step in job["steps"] if "run" in step]


def test_it_has_the_form_that_github_reads() -> None:
    jsonschema.Draft202012Validator(_SCHEMA).validate(read())


def test_a_mistake_in_it_is_noticed() -> None:
    wrong = read()
    wrong["jobs"]["test"]["time-out-minutes"] = 5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(_SCHEMA).validate(wrong)


@pytest.mark.parametrize(("job", "line"), runs())
def test_every_step_is_a_line_of_the_makefile(job: str, line: str) -> None:
    found = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=\w+)*", line)
    assert found is not None, f"{job}: {line}"
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{found[1]}:.*## ", makefile, re.MULTILINE), f"the Makefile does not say what {found[1]} does"
    # make itself finds every rule that the target needs.
    done = subprocess.run(["make", "--dry-run", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, said(done)


def test_it_does_what_was_asked_of_it() -> None:
    lines = {line.split()[1] for _, line in runs()}
    assert {"test", "docker-test", "audit", "load-smoke", "publish"} <= lines


def test_jobs_need_jobs_that_there_are_and_publishing_needs_all() -> None:
    jobs = read()["jobs"]
    assert all(set(job.get("needs", [])) <= set(jobs) for job in jobs.values())
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    assert "refs/tags/v" in jobs["publish"]["if"]


def test_no_job_may_write_to_the_repository_and_no_secret_leaves_publishing() -> None:
    found = read()
    assert found["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in found["jobs"].values())
    secrets = [name for name, job in found["jobs"].items() if "secrets." in yaml.safe_dump(job)]
    assert secrets == ["publish"]


def test_publishing_another_version_than_the_tags_is_refused() -> None:
    done = subprocess.run(
        ["make", "publish", "IMAGE=nowhere/sameway", "TAG=v0.0.0-other", "DOCKER=false"],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    assert "v0.0.0-other" in said(done)
    assert "expected v" in said(done)


def _actionlint(file: Path) -> "subprocess.CompletedProcess[str]":
    """Let actionlint read a workflow: the one of the environment, or of the machine."""
    program = shutil.which("actionlint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("actionlint is not installed; its package has wheels for Linux on x86-64")
    return subprocess.run([program, "-no-color", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("file", [FILE, ROOT / "docs" / "github-actions-parity.yaml"], ids=lambda file: file.name)
def test_actionlint_has_nothing_to_say(file: Path) -> None:
    done = _actionlint(file)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("needs: [test, load, audit, images]", "needs: [test, lead, audit, images]", "lead"),
        ("${{ vars.REGISTRY }}/", "${{ varz.REGISTRY }}/", "varz"),
        ("startsWith(github.ref, 'refs/tags/v')", "startsWith(github.ref)", "startsWith"),
        ("cancel-in-progress", "cancel-in-progres", "cancel-in-progres"),
        # A runtime that GitHub has ended.
        ("actions/checkout@v6", "actions/checkout@v4", "node20"),
    ],
)
def test_actionlint_notices_a_mistake(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    text = FILE.read_text()
    assert right in text
    spoiled = tmp_path / "spoiled.yml"
    spoiled.write_text(text.replace(right, wrong))
    done = _actionlint(spoiled)
    assert done.returncode != 0
    assert message in said(done)
