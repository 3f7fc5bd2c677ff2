"""Programs that the tests of deploy/ need and that pip does not bring: where they are, or a plain reason to skip."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

#: Program → the Debian package that has it.
_PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "nginx": "nginx-light",
    "docker-compose": "docker-compose",
    "kubectl": "",
}


def tool(name: str) -> str:
    """Return where a program is; skip the test where it is not installed."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        package = _PACKAGES[name]
        pytest.skip(f"{name} is not installed" + (f"; on Debian: apt-get install {package}" if package else ""))
    return found


def run(name: str, *words: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run such a program in the project's folder to its end."""
    variables = {**os.environ, **(environment or {})}
    return subprocess.run([tool(name), *words], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """Return all that a program said, for an assertion to show."""
    return f"{done.stdout}\n{done.stderr}"
