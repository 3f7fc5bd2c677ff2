"""The image, built and run for real. `make docker-test` runs this; it needs a Docker engine and a published `digits`."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import spec

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
IMAGE = "sameway:serve-test"


DOCKER = os.environ.get("DOCKER", "docker")


def docker(*words: str, timeout: int = 900) -> str:
    """Run a docker command and return what it printed; its errors are the test's."""
    done = subprocess.run([DOCKER, *words], cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    # The host's network, since an engine need not have a bridge.
    docker("build", "--network", "host", "--target", "serve", "-t", IMAGE, ".")
    return IMAGE


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[tuple[str, str]]:
    """A running container and its address: read-only, without privileges, as one would deploy it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    name = docker(
        "run", "--detach", "--network", "host", "--read-only", "--cap-drop", "ALL", "--env", f"SAMEWAY_PORT={port}", image
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, name)
        yield name, url
    finally:
        docker("rm", "--force", name)


def _wait_until_ready(url: str, name: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the container did not become ready: {docker('logs', name)}")


def test_it_gives_the_right_label_for_a_png(container: tuple[str, str]) -> None:
    _, url = container
    digits = spec.find("digits")
    test = digits.datasets(None).test
    right = 0
    for index in range(20):
        inputs, target = test[index]
        png = digits.content.input.write({"image": inputs["image"].numpy()[None]})
        request = urllib.request.Request(f"{url}/predict/digits", data=png, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            right += json.load(answer)["label"] == str(int(target))
    assert right >= 19


def test_it_runs_as_nobody_special(container: tuple[str, str]) -> None:
    name, _ = container
    assert docker("exec", name, "id", "-u") == "10001"


def test_it_holds_neither_torch_nor_pip(container: tuple[str, str]) -> None:
    name, _ = container
    script = "import importlib.util as u; print([n for n in ('torch', 'pip', 'lightning', 'onnx') if u.find_spec(n)])"
    assert docker("exec", name, "python3", "-c", script) == "[]"


def test_its_health_check_passes(container: tuple[str, str]) -> None:
    name, _ = container
    command = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", name))
    assert command[0] == "CMD"
    docker("exec", name, *command[1:])


def test_it_ends_with_code_0_when_told_to_stop(container: tuple[str, str]) -> None:
    name, url = container
    docker("stop", "--time", "20", name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/v2/health/live", timeout=2)
