"""`sameway serve --engine ray` on a local Ray: real replicas, which are killed, added, taken away. `make ray-test`."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proofs import replicas, telling
from proofs.load import burst, closed_load
from proofs.server import Server
from proofs.verdict import table
from tests.serving.engine.clusters import MODELS, PATIENCE_SECONDS, begin, ended, is_right, publish

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: make ray-test")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("on-ray"))


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


def all_right(server: Server, *, rounds: int) -> bool:
    """Ask every toy in turn, several at once."""
    found: list[bool] = []

    def ask(seed: int) -> None:
        found.extend(is_right(server, model, seed) for model in range(MODELS))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(rounds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return len(found) == rounds * MODELS and all(found)


def test_replicas_that_are_killed_under_load_cost_no_request(steady: Server) -> None:
    verdicts = asyncio.run(replicas.kill_under_load(steady, kills=2, rate=60.0))
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_every_model_is_right_and_counted(steady: Server) -> None:
    before = [steady.statistics(f"toy{model}") for model in range(MODELS)]
    assert all_right(steady, rounds=4)
    for model in range(MODELS):
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
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode != 0
    assert "InvalidAuthToken" in done.stderr + done.stdout


def test_more_models_than_replicas_hold_are_all_right(crowded: Server) -> None:
    assert all_right(crowded, rounds=6)


def test_replicas_come_with_the_load_and_go_when_it_is_over(crowded: Server) -> None:
    crowded.until(lambda: len(replicas.replicas(crowded)) == 1, "down to one", seconds=PATIENCE_SECONDS)

    async def load() -> bool:
        over = asyncio.Event()
        requests = telling.requests(crowded.authority, images=False)
        loading = asyncio.create_task(
            closed_load(crowded.host, crowded.port, requests, clients=48, seconds=600, until=over.is_set)
        )
        try:
            grown: Callable[[], bool] = lambda: len(replicas.replicas(crowded)) == 2  # noqa: E731
            await asyncio.to_thread(crowded.until, grown, "up to two", seconds=PATIENCE_SECONDS)
            await asyncio.sleep(1)
        finally:
            over.set()
        return all(one.good for one in await loading)

    assert asyncio.run(load())
    crowded.until(lambda: len(replicas.replicas(crowded)) == 1, "down to one again", seconds=PATIENCE_SECONDS)
    assert is_right(crowded, 0, 1)
