"""`sameway serve --workers 2`, for real: one server, whichever of its processes answers, and whichever dies."""

import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import child
from serving.engine.wanted import Wanted, wanted_of_all
from serving.settings import Settings
from serving.supervisor import Supervisor
from tests import toys
from tests.serving.desk import infer_body
from tests.serving.live import ROOT, LiveServer, request, serving
from tests.serving.sessions import PATIENCE

FRONT_ENDS = ("fastapi", "flask")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    toys.publish(tmp_path, seed=0)
    return tmp_path


def start(repository: Path, *flags: str) -> LiveServer:
    server = LiveServer(repository, "--workers", "2", "--management", "--drain-delay-seconds", "0", *flags)
    server.ready()
    server.until(lambda: len(workers(server)) == 2 and sum("event=loaded" in line for line in server.log) >= 2, "loaded")
    return server


@pytest.fixture
def server(repository: Path) -> Iterator[LiveServer]:
    server = start(repository)
    yield server
    server.kill()


def workers(server: LiveServer) -> dict[int, int]:
    """Return the process id of each worker, the newest of those that had its number."""
    found = (re.search(r"event=worker_started worker=(\d) pid=(\d+)", line) for line in server.log)
    return {int(one[1]): int(one[2]) for one in found if one}


def version(server: LiveServer) -> str:
    answer = server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))
    return str(answer.json()["model_version"]) if answer.status == 200 else f"{answer.status}: {answer.body!r}"


def refused(server: LiveServer) -> bool:
    """Tell whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except OSError:
        return True
    return False


def total(server: LiveServer) -> float:
    return server.value("sameway_requests_total", outcome="ok") + server.value(
        "sameway_requests_retired_total", outcome="ok"
    )


@pytest.mark.parametrize("frontend", FRONT_ENDS)
def test_every_worker_counts_and_each_tells_the_total(repository: Path, frontend: str) -> None:
    server = start(repository, "--frontend", frontend)
    try:
        for count in range(1, 9):
            assert version(server) == "1"
            assert total(server) == count
        (statistics,) = server.ask("GET", "/v2/models/toy/stats").json()["model_stats"]
        assert statistics["inference_stats"]["success"]["count"] == statistics["execution_count"] == 8
        assert server.value("sameway_model_state", state="ready") == 2
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_load_is_answered_when_every_worker_serves_the_new_version(server: LiveServer, repository: Path) -> None:
    assert {version(server) for _ in range(8)} == {"1"}
    toys.publish(repository, seed=1)
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
    assert {version(server) for _ in range(16)} == {"2"}
    assert server.ask("POST", "/v2/repository/index").json() == [
        {"name": "toy", "version": "2", "state": "READY", "reason": "", "verified": True}
    ]
    assert 'version="1"' not in server.ask("GET", "/metrics").body.decode()
    assert total(server) == 24, "what the old version answered is in the total"


def test_a_load_that_fails_changes_nothing_anywhere(server: LiveServer, repository: Path) -> None:
    (toys.publish(repository, seed=1).path / "model.onnx").write_bytes(b"altered")
    answer = server.ask("POST", "/v2/repository/models/toy/load")
    assert answer.status == 503
    assert "version 1 serves on" in answer.json()["error"]
    assert {version(server) for _ in range(8)} == {"1"}
    failures = server.value("sameway_load_failures_total")
    assert failures >= 1
    # What the supervisor finds wrong counts as well.
    (repository / "toy" / "config.toml").write_text("versions = 7")
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 503
    server.until(lambda: server.value("sameway_load_failures_total") == failures + 2, "counted by both workers")


def test_a_model_unloaded_once_is_unloaded_everywhere_and_stays_so_in_a_new_worker(server: LiveServer) -> None:
    assert server.ask("POST", "/v2/repository/models/toy/unload").status == 200
    os.kill(workers(server)[0], signal.SIGKILL)
    server.until(lambda: sum("event=loaded" in line for line in server.log) == 3, "a third worker has loaded")
    assert all(version(server).startswith("503") for _ in range(8))
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
    assert {version(server) for _ in range(8)} == {"1"}


def test_a_killed_worker_is_replaced_nobody_else_notices_and_what_it_counted_stays(server: LiveServer) -> None:
    for _ in range(8):
        assert version(server) == "1"
    before = workers(server)
    for number in (0, 1):
        os.kill(before[number], signal.SIGKILL)
        # New connections go to the other one: never is there nobody.
        for _ in range(10):
            assert version(server) == "1"
        server.until(lambda number=number: workers(server)[number] != before[number], "replaced")  # type: ignore[misc]
        loaded = 3 + number
        server.until(lambda loaded=loaded: sum("event=loaded" in x for x in server.log) == loaded, "loaded")  # type: ignore[misc]
    assert total(server) == 28
    assert server.value("sameway_in_flight") == 0
    assert server.stop() == 0


def test_what_is_published_is_found_by_watching(repository: Path) -> None:
    server = start(repository, "--watch-seconds", "0.05")
    try:
        toys.publish(repository, seed=1)
        server.until(lambda: {version(server) for _ in range(8)} == {"2"}, "served by all")
        toys.publish(repository, "second")
        server.until(lambda: server.ask("GET", "/v2/models/second/ready").status == 200, "served")
    finally:
        server.kill()


def test_workers_end_when_their_supervisor_is_gone(server: LiveServer) -> None:
    pids = list(workers(server).values())
    server.process.kill()
    server.process.wait()
    server.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), "all gone")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_stop_answers_what_was_accepted_by_each_worker(repository: Path) -> None:
    (repository / "toy" / "config.toml").write_text("queue_delay_seconds = 2")
    server = start(repository)
    try:
        connections = [server.connect() for _ in range(7)]  # an eighth would fill a batch, and nobody would wait
        for connection in connections:
            connection.send(request("POST", "/v2/models/toy/infer", infer_body(toys.images(1))))
        server.until(lambda: server.value("sameway_in_flight") == 7, "waiting")
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: refused(server), "closed")
        waiting = select.poll()
        for connection in connections:
            waiting.register(connection.socket, select.POLLIN)
        assert not waiting.poll(0), "no connection is taken any more that nobody will answer"
        assert [connection.answer().status for connection in connections] == [200] * 7
        for connection in connections:
            connection.socket.close()
        assert server.wait() == 0
    finally:
        server.kill()


def test_a_process_that_is_killed_while_the_server_stops_is_named_in_the_log(repository: Path) -> None:
    server = start(repository, "--drain-delay-seconds", "30")
    try:
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.ask("GET", "/v2/health/ready").status == 503, "stopping")
        os.kill(workers(server)[1], signal.SIGKILL)
        server.until(lambda: any("event=worker_ended worker=1 exit_code=-9" in line for line in server.log), "said")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert [line for line in server.log if "worker_ended worker=0" in line] == []
    finally:
        server.kill()


def test_a_process_that_cannot_be_started_keeps_nobody_from_being_ready(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(Settings(repository=repository, workers=2), [])
    expected: list[bool] = []

    def no_memory(*_: object, **__: object) -> None:
        expected.append(supervisor._counters.is_loading(1))
        raise OSError("no memory")

    monkeypatch.setattr(child, "start", no_memory)
    supervisor._start(1)
    assert expected == [True]
    assert not supervisor._counters.is_loading(1)


def test_a_model_that_comes_while_the_server_begins_is_a_change_to_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*words: Any) -> Wanted:  # Any: what the real one takes
        found = wanted_of_all(*words)
        toys.publish(repository, "late")
        return found

    monkeypatch.setattr("serving.supervisor.wanted_of_all", meanwhile)
    watch = Supervisor(Settings(repository=repository, workers=2, watch_seconds=60), [])._watch
    assert watch is not None
    assert (watch.step(), watch.step()) == ([], ["late"])


_CANNOT_START = """
import logging, sys
from serving.settings import Settings
from serving.supervisor import Supervisor
logging.basicConfig(level="INFO", format="%(message)s")
sys.executable = "/bin/false"
sys.exit(Supervisor(Settings(repository=sys.argv[1], workers=2), []).run())
"""


def test_a_server_none_of_whose_workers_can_start_ends(repository: Path) -> None:
    words = [sys.executable, "-c", _CANNOT_START, str(repository)]
    finished = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 1
    assert "event=cannot_start" in finished.stderr


def test_a_replaced_worker_answers_as_the_others_do_whatever_lies_on_the_disk_by_now(repository: Path) -> None:
    (repository / "late").mkdir()
    (repository / "late" / "config.toml").touch()  # a model without a version, when the server starts
    server = start(repository)
    try:
        toys.publish(repository, "late")
        (repository / "toy" / "config.toml").write_text("timeout_seconds = 7")
        os.kill(workers(server)[0], signal.SIGKILL)

        # The successor finds another configuration than the others have; so all of them take it, and then there is one.
        server.until(lambda: any("event=cannot_follow models=toy" in line for line in server.log), "found to differ")
        server.until(lambda: sum("event=loaded" in line for line in server.log) == 4, "replaced once more")
        server.until(lambda: server.value("sameway_model_state", model="toy", state="ready") == 2, "alike")
        assert {server.ask("GET", "/v2/models/late/ready").status for _ in range(16)} == {503}
        assert {version(server) for _ in range(16)} == {"1"}
        assert server.ask("POST", "/v2/repository/models/late/load").status == 200
        assert {server.ask("GET", "/v2/models/late/ready").status for _ in range(16)} == {200}
        assert server.stop() == 0
    finally:
        server.kill()


class Halting:
    """Two workers of which the second is halted when the log says so, so that each can find other files.

    At the start version 2 of the model is broken, and the second worker halts before it looks; so the first one serves 1.
    """

    def __init__(self, repository: Path) -> None:
        self.artifact = toys.publish(repository, seed=1).path / "model.onnx"
        for number in range(16):
            toys.publish(repository, f"toy{number:02}")
        self._whole = self.artifact.read_bytes()
        self.spoil()
        self._until = "event=worker_started worker=1 pid="
        self._halted = threading.Event()
        self._pid = 0
        self.server = LiveServer(repository, "--workers", "2", "--drain-delay-seconds", "0", on_line=self._read)
        self.server.until(lambda: self.logged("event=loaded") == 1, "loaded by one")

    def _read(self, line: str) -> None:
        if self._until in line:
            found = re.search(r"worker=1 pid=(\d+)", line)
            self._pid = int(found[1]) if found else self._pid
            os.kill(self._pid, signal.SIGSTOP)
            self._until = "nothing more"
            self._halted.set()

    def spoil(self) -> None:
        self.artifact.write_bytes(self._whole[:-100])

    def mend(self) -> None:
        self.artifact.write_bytes(self._whole)

    def go_on(self, until: str = "nothing more") -> None:
        """Let the second worker go on, and halt again once it says something; return then."""
        self._halted.clear()
        self._until = until
        os.kill(self._pid, signal.SIGCONT)
        if until != "nothing more":
            assert self._halted.wait(PATIENCE)

    def logged(self, *words: str) -> int:
        return sum(all(word in line for word in words) for line in self.server.log)

    def states(self) -> set[tuple[str, str]]:
        index = self.server.ask("POST", "/v2/repository/index").json()
        return {(one["version"], one["state"]) for one in index if one["name"] == "toy"}


@pytest.fixture
def halting(repository: Path) -> Iterator[Halting]:
    halting = Halting(repository)
    yield halting
    if halting.server.process.poll() is None:
        halting.go_on()
    halting.server.kill()


def test_workers_that_begin_with_different_versions_of_a_model_end_with_the_one_that_is_wanted(halting: Halting) -> None:
    server = halting.server
    halting.mend()
    halting.go_on()
    server.until(lambda: halting.logged("event=workers_differ model=toy") == 1, "found to differ")
    server.until(lambda: halting.states() == {("2", "READY")}, "alike")
    assert {version(server) for _ in range(16)} == {"2"}
    assert server.stop() == 0


def test_workers_of_which_one_cannot_open_what_is_wanted_end_with_the_older_version(halting: Halting) -> None:
    server = halting.server
    halting.mend()
    halting.go_on(until="event=model_ready model=toy version=2")
    assert halting.logged("event=loaded") == 1
    halting.spoil()
    halting.go_on()
    # Neither can it be opened anew by the worker that serves it.
    older = {("1", "READY"), ("2", "UNAVAILABLE")}
    server.until(lambda: halting.logged("event=loaded") == 2 and halting.states() == older, "alike")
    assert {version(server) for _ in range(16)} == {"1"}
    os.kill(workers(server)[0], signal.SIGKILL)
    server.until(lambda: halting.logged("event=loaded") == 3, "replaced")
    server.until(lambda: halting.states() == older, "alike again")
    assert {version(server) for _ in range(16)} == {"1"}
    assert server.stop() == 0


def test_a_supervisor_that_cannot_start_a_worker_tries_again_and_the_others_answer(server: LiveServer) -> None:
    pid = server.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(workers(server)[0], signal.SIGKILL)
    server.until(lambda: any("event=worker_not_started" in line for line in server.log), "out of descriptors")
    assert {version(server) for _ in range(8)} == {"1"}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    server.until(lambda: sum("event=loaded" in line for line in server.log) == 3, "replaced after all")
    assert server.stop() == 0


def test_one_worker_needs_no_supervisor(repository: Path) -> None:
    with serving(repository, "--workers", "1") as server:
        assert not any("worker" in line for line in server.log)
        assert json.loads(server.ask("GET", "/v2/health/live").body) == {"live": True}


@pytest.mark.parametrize("processes", ["--workers", "--frontends"])
def test_a_server_that_says_it_is_ready_answers_whichever_process_is_met(tmp_path: Path, processes: str) -> None:
    for number in range(12):
        toys.publish(tmp_path, f"toy{number}")
    for _ in range(3):
        server = LiveServer(tmp_path, processes, "3", "--drain-delay-seconds", "0").ready()
        try:
            body = infer_body(toys.images(1))
            assert {server.ask("POST", "/v2/models/toy11/infer", body).status for _ in range(30)} == {200}
        finally:
            server.kill()
