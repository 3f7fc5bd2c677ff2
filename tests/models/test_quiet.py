"""ONNX Runtime's telemetry stays off, wherever this project imports the runtime."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What opens sessions: serving a version, exporting one, proving it, measuring a bare session.
MODULES = ["serving.backends.onnx", "export.onnx_session", "proofs.models", "loadtests.benchmark.session"]


def _home_after(code: str, home: Path, **variables: str) -> list[str]:
    """Return the files in a home directory that a fresh process had.

    Of this environment it has the path alone: the runtime keeps quiet of itself where CI, GITHUB_ACTIONS or one of a dozen
    like them is set, and nothing would be seen there.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    return [str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()]


@pytest.mark.parametrize("module", MODULES)
def test_the_runtime_writes_nothing_into_the_home_directory(module: str, tmp_path: Path) -> None:
    assert _home_after(f"import sys, {module}; assert 'onnxruntime' in sys.modules", tmp_path) == []


def test_who_asks_for_the_telemetry_has_it(tmp_path: Path) -> None:
    code = "import os, serving.backends.onnx; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    files = _home_after(code, tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert any("onnxruntime" in file for file in files)
