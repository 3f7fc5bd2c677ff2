"""How a server on Ray begins and ends: stops, kills, addresses, other servers beside it. `make ray-test`."""

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from proofs import replicas
from proofs.load import burst
from proofs.server import ROOT, Server, is_running
from tests import toys
from tests.serving.engine.clusters import PATIENCE_SECONDS, begin, is_right, publish

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: make ray-test")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("on-ray"))


@pytest.mark.long
def test_a_server_that_is_killed_leaves_no_ray_behind(root: Path) -> None:
    server = begin(root, "--models", "toy0")
    left = replicas.family(server.process.pid)
    server.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS  # Ray's agents take their time to see it
    while any(map(is_running, left)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in left if is_running(pid)]


def test_what_is_accepted_is_answered_when_the_server_stops(root: Path, tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 1.0\n")
    server = begin(tmp_path)

    async def stop() -> list[int]:
        requests = [_toy(server.authority) for _ in range(6)]
        asking = asyncio.create_task(burst(server.host, server.port, requests))
        await asyncio.to_thread(server.until, lambda: _in_flight(server) == 6, "asked")
        server.process.send_signal(signal.SIGTERM)
        return [one.status for one in await asking]

    left = replicas.family(server.process.pid)
    assert asyncio.run(stop()) == [200] * 6
    assert server.wait() == 0
    assert not [pid for pid in left if is_running(pid)]


def test_a_server_may_be_stopped_while_it_starts(root: Path) -> None:
    server = Server.start(root, "--engine", "ray", "--ray-cpus", "0.1", "--drain-delay-seconds", "0")
    left = replicas.family(server.process.pid)
    assert len(left) > 3, "Ray has processes"
    assert server.stop() == 0
    assert not [line for line in server.log if "Traceback" in line]
    assert not [pid for pid in left if is_running(pid)]


@pytest.mark.parametrize("listens", [False, True], ids=["nobody", "something else"])
def test_a_ray_that_cannot_be_reached_is_named(root: Path, listens: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        if not listens:
            other.close()
        done = _serve(root, "--ray-address", address)
    assert done.returncode == 1
    assert f"ray_address: expected a Ray that can be reached, found none at {address}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_a_ray_that_is_there_is_used_and_left_as_it_was(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # Ray's workers have the ports from 10,002 to 19,999.
    address = f"127.0.0.1:{port if port > 19_999 else port + 20_000}"
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(ROOT)}
    # A short path, as Ray puts sockets there.
    folder = tempfile.mkdtemp(prefix="ray-")
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", "--block", "--port", address.rpartition(":")[2], "--temp-dir", folder]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"]
    head = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _listens(address) and time.monotonic() < deadline:
            time.sleep(0.1)
        flags = ("--ray-address", address, "--models", "toy1,toy2")
        server = begin(root, *flags, environment=environment)
        assert is_right(server, 1, 1)
        # Its successor takes the place of one that could not say goodbye.
        server.kill()
        taken = begin(root, *flags, environment=environment)
        assert is_right(taken, 2, 2)
        # And of one that is there, which says so and ends, and leaves the application to whoever has it now.
        server = begin(root, *flags, environment=environment)
        taken.until(lambda: bool(taken.logged("application_taken")), "taken", seconds=PATIENCE_SECONDS)
        assert taken.wait() == 0
        assert taken.logged("application_left") == 1
        assert is_right(server, 1, 3)
        assert server.stop() == 0
        living = [Path(f"/proc/{pid}/cmdline").read_text() for pid in replicas.family(head.pid)]
        assert any("raylet" in line for line in living)
        assert not [line for line in living if "ServeReplica" in line]
    finally:
        for pid in [*replicas.family(head.pid), head.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.wait(PATIENCE_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _toy(authority: str):  # type: ignore[no-untyped-def]
    from proofs.load import Request, post

    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4], "data": [7] * 16}
    return Request(post(authority, "/v2/models/toy/infer", json.dumps({"inputs": [tensor]}).encode()))


def _in_flight(server: Server) -> int:
    _, body = server.ask("/metrics")
    return next(int(float(line.split()[1])) for line in body.decode().splitlines() if line.startswith("sameway_in_flight "))


def _serve(root: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "cli.py", "serve", "--engine", "ray", "--repository", str(root), "--port", "0", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
