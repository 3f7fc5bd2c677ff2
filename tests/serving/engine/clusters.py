"""Servers whose models are in Ray Serve replicas, on a Ray of their own or on another one."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from proofs import replicas, telling
from proofs.server import Server, is_running
from tests import toys

#: Ray on a machine that does other things too.
PATIENCE_SECONDS = 120.0
MODELS = 6


def publish(folder: Path) -> Path:
    """Publish a model that tells what it was asked, and some toys."""
    telling.publish(folder)
    (folder / telling.MODEL / "config.toml").write_text("queue_rows = 1024\ntimeout_seconds = 60\n")
    for number in range(MODELS):
        toys.publish(folder, f"toy{number}", seed=number)
        (folder / f"toy{number}" / "config.toml").write_text("queue_rows = 1024\ntimeout_seconds = 60\n")
    return folder


def begin(root: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Server:
    """Start a server and wait until it is ready."""
    words = ("--engine", "ray", "--ray-cpus", "0.1", "--drain-delay-seconds", "0", *flags)
    server = Server.start(root, *words, environment=environment)
    server.until(lambda: server.ask("/v2/health/ready")[0] == 200, "ready", seconds=PATIENCE_SECONDS)
    return server


def ended(server: Server) -> None:
    """End a server and hold that nothing of it is left: no error in its log, no process."""
    left = replicas.family(server.process.pid)
    assert len(left) > 3, "Ray has processes"
    assert server.stop() == 0
    deadline = time.monotonic() + 10
    while any(map(is_running, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in left if is_running(pid)]
    assert server.errors() == []


def is_right(server: Server, model: int, seed: int) -> bool:
    """Ask a toy for three images, and tell whether the answer is its own."""
    pixels = toys.images(3, seed=seed)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    status, body = server.ask(f"/v2/models/toy{model}/infer", "POST", json.dumps({"inputs": [tensor]}).encode())
    if status != 200:
        return False
    data = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    wanted = toys.reference(pixels, model)
    near = np.allclose(np.reshape(data["probabilities"], (3, -1)), wanted["probabilities"], atol=1e-5)
    return near and data["class"] == wanted["class"].tolist()
