"""KServe's client, in an environment of its own: what it depends on clashes with what we do.

`make kserve-client` makes the environment; without it these tests are skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.servers import ROOT, Server

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="the kserve client is not installed: make kserve-client")
def test_the_kserve_client(zoo_server: Server) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run(
        [PYTHON, "-W", "ignore", Path(__file__).with_name("kserve_client.py"), zoo_server.url],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=ROOT / "tests" / "conformance",
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout.splitlines()[-1])
    assert len(results) == 8
    for check, problem in results.items():
        assert problem is None, f"{check}: {problem}"
