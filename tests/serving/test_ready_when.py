"""`sameway serve --ready-when all`, for real: what is known once is known to every process, and to those that come later."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import toys
from tests.serving.live import LiveServer

PROCESSES = {"workers": ("worker=0", "worker=1"), "frontends": ("frontend=1", "frontend=2")}


def logged(server: LiveServer, event: str) -> int:
    return sum(f"event={event} " in line for line in server.log)


def pids(server: LiveServer) -> dict[str, int]:
    """Return the process id of each process by its name in the log, the newest of those that had it."""
    found = (re.search(r"event=\w+_started (\w+=\d+) pid=(\d+)", line) for line in server.log)
    return {one[1]: int(one[2]) for one in found if one}


@contextmanager
def started(repository: Path, processes: str) -> Iterator[LiveServer]:
    """Run a server of two processes that nobody has asked anything when it has loaded."""
    flags = ("--ready-when", "all", "--management", "--drain-delay-seconds", "0", f"--{processes}", "2")
    server = LiveServer(repository, *flags)
    try:
        server.until(lambda: logged(server, "loaded") == (2 if processes == "workers" else 1), "loaded")
        server.until(lambda: logged(server, "listening") == 2, "listening")
        yield server
    finally:
        server.kill()


def replace(server: LiveServer, name: str) -> None:
    """Kill a process, and wait for another one in its place that answers."""
    before, event = pids(server)[name], "loaded" if name.startswith("engine") else "listening"
    count = logged(server, event)
    os.kill(before, signal.SIGKILL)
    server.until(lambda: pids(server)[name] != before and logged(server, event) == count + 1, "replaced")


def says(server: LiveServer) -> set[tuple[int, str]]:
    """Return what the ready route says, asked often enough to meet every process."""
    answers = [server.ask("GET", "/v2/health/ready") for _ in range(16)]
    return {(answer.status, answer.json().get("error", "")) for answer in answers}


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_process_that_takes_anothers_place_is_ready_whatever_has_failed_since(tmp_path: Path, processes: str) -> None:
    toys.publish(tmp_path)
    toys.publish(tmp_path, "other")
    with started(tmp_path, processes) as server:
        (toys.publish(tmp_path, seed=1).path / "model.onnx").write_bytes(b"altered")
        assert server.ask("POST", "/v2/repository/models/toy/load").status == 503
        assert server.ask("POST", "/v2/repository/models/other/unload").status == 200
        for name in PROCESSES[processes]:
            replace(server, name)
        assert says(server) == {(200, "")}


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_server_that_never_served_one_of_its_models_is_never_ready_whatever_is_replaced(
    tmp_path: Path, processes: str
) -> None:
    toys.publish(tmp_path)
    (toys.publish(tmp_path, "broken").path / "model.onnx").write_bytes(b"altered")
    not_ready = {(503, "the server is not ready: broken could not be opened")}
    with started(tmp_path, processes) as server:
        assert says(server) == not_ready
        for name in PROCESSES[processes]:
            replace(server, name)
        if processes == "frontends":
            replace(server, "engine=0")
            server.until(lambda: server.ask("GET", "/v2/models/toy/ready").status == 200, "told")
        server.until(lambda: says(server) == not_ready, "not ready, for the same reason")
        # What nobody wants any more keeps no server from being ready.
        assert server.ask("POST", "/v2/repository/models/broken/unload").status == 200
        server.until(lambda: says(server) == {(200, "")}, "ready")
