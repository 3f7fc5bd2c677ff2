"""The suite against a server that it has not started: `pytest tests/conformance --url http://…`, as other people run it."""

import contextlib
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toys
from tests.conformance.servers import ROOT
from tests.serving.live import serving

#: A file of raw sockets, one of every datatype by tritonclient, one of the document; together a few seconds.
FILES = ("test_framing.py", "test_triton_infer.py", "test_openapi.py")


def run(url: str, *files: str) -> tuple[int, int, str]:
    """Run some files of the suite on a server; return the exit code, how many tests passed, and what was printed."""
    paths = [f"tests/conformance/{file}" for file in files]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *paths, "--url", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    passed = re.search(r"(\d+) passed", done.stdout)
    return done.returncode, int(passed[1]) if passed else 0, done.stdout


@contextlib.contextmanager
def other_server() -> Iterator[str]:
    """Run a server that speaks HTTP, and nothing of the protocol."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--url", default=None):
        pytest.skip("starts servers of its own")


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_a_server_with_the_suite_s_models_passes(repository: Path, frontend: str) -> None:
    with serving(repository, "--frontend", frontend) as live:
        code, passed, output = run(live.url, *FILES)
    assert code == 0, output
    assert passed > 50, output
    assert "SKIPPED" not in output, "each of these files can be run on any server that has the models"


def test_a_server_with_other_models_passes_what_needs_none_of_the_suite_s(tmp_path: Path) -> None:
    toys.publish(tmp_path, "stranger")
    with serving(tmp_path) as live:
        code, passed, output = run(live.url, *FILES)
    assert code == 0, output
    assert passed > 10, output
    assert "this server does not serve the suite's models" in output


def test_a_server_that_does_not_speak_the_protocol_fails() -> None:
    with other_server() as url:
        code, _, output = run(url, "test_openapi.py")
    assert code == 1, output
    assert "failed" in output or "error" in output
