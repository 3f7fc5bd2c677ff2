"""`sameway serve --engine ray` on a local Ray: real replicas, which are killed, added, taken away. `make ray-test`."""

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
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from proofs import replicas, telling
from proofs.load import burst, closed_load
from proofs.server import ROOT, Server, is_running
from proofs.verdict import table
from tests import toys

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: make ray-test")

#: Ray on a machine that does other things too.
_PATIENCE_SECONDS = 120.0
_MODELS = 6


def begin(root: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Server:
    words = ("--engine", "ray", "--ray-cpus", "0.1", "--drain-delay-seconds", "0", *flags)
    server = Server.start(root, *words, environment=environment)
    server.until(lambda: server.ask("/v2/health/ready")[0] == 200, "ready", seconds=_PATIENCE_SECONDS)
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


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on-ray")
    telling.publish(folder)
    (folder / telling.MODEL / "config.toml").write_text("queue_rows = 1024\ntimeout_seconds = 60\n")
    for number in range(_MODELS):
        toys.publish(folder, f"toy{number}", seed=number)
        (folder / f"toy{number}" / "config.toml").write_text("queue_rows = 1024\ntimeout_seconds = 60\n")
    return folder


@pytest.fixture(scope="module")
def steady(root: Path) -> Iterator[Server]:
    """Two replicas that hold every model."""
    server = begin(root, "--ray-replicas", "2", "--management")
    yield server
    ended(server)


@pytest.fixture(scope="module")
def crowded(root: Path) -> Iterator[Server]:
    """One or two replicas, as the load wants, that hold two of seven models each."""
    flags = ("--ray-replicas", "1:2", "--ray-models", "2", "--ray-up-seconds", "0.5", "--ray-down-seconds", "2")
    server = begin(root, *flags)
    yield server
    ended(server)


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


def all_right(server: Server, *, rounds: int) -> bool:
    """Ask every toy in turn, several at once."""
    found: list[bool] = []

    def ask(seed: int) -> None:
        found.extend(is_right(server, model, seed) for model in range(_MODELS))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(rounds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_SECONDS)
    return len(found) == rounds * _MODELS and all(found)


def test_replicas_that_are_killed_under_load_cost_no_request(steady: Server) -> None:
    verdicts = asyncio.run(replicas.kill_under_load(steady, kills=2, rate=60.0))
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_every_model_is_right_and_counted(steady: Server) -> None:
    before = [steady.statistics(f"toy{model}") for model in range(_MODELS)]
    assert all_right(steady, rounds=4)
    for model in range(_MODELS):
        now, then = steady.statistics(f"toy{model}"), before[model]
        assert now["inference_count"] - then["inference_count"] == 12
        counts = now["inference_stats"]
        assert counts["success"]["count"] - then["inference_stats"]["success"]["count"] == 4
        assert counts["queue"]["count"] == counts["success"]["count"]


def test_a_swap_is_over_when_it_says_so_and_loses_nothing(steady: Server, root: Path) -> None:
    async def swap() -> None:
        over = asyncio.Event()
        requests = telling.requests(steady.authority)
        load = asyncio.create_task(
            closed_load(steady.host, steady.port, requests, clients=6, seconds=600, until=over.is_set)
        )
        try:
            for _ in range(3):
                number = telling.publish(root).manifest.version
                loaded = await asyncio.to_thread(steady.ask, f"/v2/repository/models/{telling.MODEL}/load", "POST")
                assert loaded[0] == 200, loaded
                after = await burst(steady.host, steady.port, [next(requests) for _ in range(8)])
                assert {telling.told(one.version)[0] for one in after} == {number}
                assert all(one.good for one in after)
        finally:
            over.set()
        outcomes = await load
        assert len(outcomes) > 8
        assert [one for one in outcomes if not one.good] == []

    asyncio.run(swap())


def test_an_unloaded_model_is_freed_by_every_replica_and_can_come_back(steady: Server) -> None:
    assert is_right(steady, 5, 1)
    assert steady.ask("/v2/repository/models/toy5/unload", "POST")[0] == 200
    assert steady.ask("/v2/models/toy5/ready")[0] == 503
    status, body = steady.ask("/v2/models/toy5/infer", "POST", b'{"inputs": []}')
    assert (status, json.loads(body)["code"]) == (503, "model_not_ready")
    assert steady.ask("/v2/repository/models/toy5/load", "POST")[0] == 200
    assert is_right(steady, 5, 2)


def test_a_stranger_on_this_machine_cannot_use_our_ray(steady: Server) -> None:
    """Whoever reaches Ray's ports can run code there, so they ask for a token, which only our processes know."""
    program = (
        "import sys; from ray._private.services import canonicalize_bootstrap_address as c; import ray._raylet as r;"
        "r.GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None)"
    )
    command = next(
        Path(f"/proc/{pid}/cmdline").read_text()
        for pid in replicas.family(steady.process.pid)
        if "/raylet\0" in Path(f"/proc/{pid}/cmdline").read_text()
    )
    address = next(word.partition("=")[2] for word in command.split("\0") if word.startswith("--gcs-address="))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program, address],
        env={**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
    )
    assert done.returncode != 0
    assert "InvalidAuthToken" in done.stderr + done.stdout


def test_more_models_than_replicas_hold_are_all_right(crowded: Server) -> None:
    assert all_right(crowded, rounds=6)


def test_replicas_come_with_the_load_and_go_when_it_is_over(crowded: Server) -> None:
    crowded.until(lambda: len(replicas.replicas(crowded)) == 1, "down to one", seconds=_PATIENCE_SECONDS)

    async def load() -> bool:
        over = asyncio.Event()
        requests = telling.requests(crowded.authority, images=False)
        loading = asyncio.create_task(
            closed_load(crowded.host, crowded.port, requests, clients=48, seconds=600, until=over.is_set)
        )
        try:
            grown: Callable[[], bool] = lambda: len(replicas.replicas(crowded)) == 2  # noqa: E731
            await asyncio.to_thread(crowded.until, grown, "up to two", seconds=_PATIENCE_SECONDS)
            await asyncio.sleep(1)
        finally:
            over.set()
        return all(one.good for one in await loading)

    assert asyncio.run(load())
    crowded.until(lambda: len(replicas.replicas(crowded)) == 1, "down to one again", seconds=_PATIENCE_SECONDS)
    assert is_right(crowded, 0, 1)


@pytest.mark.long
def test_a_server_that_is_killed_leaves_no_ray_behind(root: Path) -> None:
    server = begin(root, "--models", "toy0")
    left = replicas.family(server.process.pid)
    server.kill()
    deadline = time.monotonic() + _PATIENCE_SECONDS  # Ray's agents take their time to see it
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
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _listens(address) and time.monotonic() < deadline:
            time.sleep(0.1)
        flags = ("--ray-address", address, "--models", "toy1,toy2")
        server = begin(root, *flags, environment=environment)
        assert is_right(server, 1, 1)
        # Its successor takes the place of one that could not say goodbye.
        server.kill()
        server = begin(root, *flags, environment=environment)
        assert is_right(server, 2, 2)
        assert server.stop() == 0
        living = [Path(f"/proc/{pid}/cmdline").read_text() for pid in replicas.family(head.pid)]
        assert any("raylet" in line for line in living)
        assert not [line for line in living if "ServeReplica" in line]
    finally:
        for pid in [*replicas.family(head.pid), head.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.wait(_PATIENCE_SECONDS)
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
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
