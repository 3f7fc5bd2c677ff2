"""`sameway serve --frontends 2`, for real: whichever front end answers, it is one engine, and whatever dies is replaced."""

import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toys
from tests.serving.desk import infer_body
from tests.serving.live import Answer, LiveServer, descriptors, request

FRONT_ENDS = ("fastapi", "flask")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    toys.publish(tmp_path)
    return tmp_path


def start(repository: Path, *flags: str) -> LiveServer:
    server = LiveServer(repository, "--frontends", "2", "--management", "--drain-delay-seconds", "0", *flags)
    server.ready()
    server.until(lambda: logged(server, "listening") == 2, "listening")
    return server


@pytest.fixture(params=FRONT_ENDS)
def server(repository: Path, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    server = start(repository, "--frontend", request.param)
    yield server
    server.kill()


def logged(server: LiveServer, event: str) -> int:
    return sum(f"event={event} " in line for line in server.log)


def pids(server: LiveServer) -> dict[str, int]:
    """Return the process id of each process by its name in the log, the newest of those that had it."""
    found = (re.search(r"event=\w+_started (\w+=\d+) pid=(\d+)", line) for line in server.log)
    return {one[1]: int(one[2]) for one in found if one}


def ask(server: LiveServer) -> Answer:
    return server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))


def counted(server: LiveServer) -> Counter[str]:
    """Return how often requests have ended in each way."""
    text = server.ask("GET", "/metrics").body.decode()
    found: Counter[str] = Counter()
    for line in re.findall(r"^sameway_requests(?:_retired)?_total\{(.*)\} (\S+)$", text, re.MULTILINE):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line[0]))
        found[labels["reason"] or labels["outcome"]] += int(float(line[1]))
    return +found


def processes_of(connections: list[socket.socket], server: LiveServer) -> dict[int, str]:
    """Return which process has each connection, by its client's port."""
    owners = {}
    for name, pid in pids(server).items():
        links = descriptors(pid)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in links and words[1].endswith(f":{server.port:04X}"):
                owners[int(words[2].split(":")[1], 16)] = name
    return {one.getsockname()[1]: owners.get(one.getsockname()[1], "") for one in connections}


def test_every_front_end_answers_and_each_tells_the_total(server: LiveServer) -> None:
    for count in range(1, 9):
        answer = ask(server)
        assert answer.status == 200
        assert answer.headers["sameway-version"].startswith("toy/1 sha256:")
        assert counted(server) == {"ok": count}
    (statistics,) = server.ask("GET", "/v2/models/toy/stats").json()["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] == statistics["execution_count"] == 8
    assert server.value("sameway_model_state", state="ready") == 1
    assert server.value("sameway_queue_seconds_count") == server.value("sameway_request_seconds_count") == 8
    assert server.ask("GET", "/v2/health/live").status == 200
    assert server.stop() == 0
    stops = [re.search(r"(frontend|engine)=\d logger=\S+ event=stopped", line) for line in server.log]
    assert [one[1] for one in stops if one] == ["frontend", "frontend", "engine"]


def test_a_load_is_answered_when_every_front_end_serves_the_new_version(server: LiveServer, repository: Path) -> None:
    toys.publish(repository, seed=1)
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
    assert {ask(server).json()["model_version"] for _ in range(8)} == {"2"}
    assert server.ask("POST", "/v2/repository/models/toy/unload").status == 200
    assert {ask(server).status for _ in range(4)} == {503}
    assert server.ask("POST", "/v2/repository/models/nobody/load").status == 404
    toys.publish(repository, "late")
    assert server.ask("POST", "/v2/repository/models/late/load").status == 200
    assert {server.ask("GET", "/v2/models/late/ready").status for _ in range(4)} == {200}
    assert counted(server) == {"ok": 8, "model_not_ready": 4}


def test_a_killed_front_end_costs_its_own_connections_and_is_replaced(server: LiveServer) -> None:
    connections = [server.connect() for _ in range(8)]
    body = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))
    for connection in connections:
        assert connection.send(body).answer().status == 200
    owners = processes_of([connection.socket for connection in connections], server)
    assert set(owners.values()) == {"frontend=1", "frontend=2"}
    before = pids(server)
    os.kill(before["frontend=1"], signal.SIGKILL)
    server.until(lambda: pids(server)["frontend=1"] != before["frontend=1"], "replaced")
    server.until(lambda: logged(server, "listening") == 3, "listening")
    for connection in connections:
        if owners[connection.socket.getsockname()[1]] == "frontend=2":
            assert connection.send(body).answer().status == 200
        else:
            assert connection.closed()
        connection.socket.close()
    kept = sum(owner == "frontend=2" for owner in owners.values())
    # The new one takes connections too: it has fewer.
    fresh = [server.connect() for _ in range(4)]
    assert [connection.send(body).answer().status for connection in fresh] == [200] * 4
    assert "frontend=1" in processes_of([connection.socket for connection in fresh], server).values()
    for connection in fresh:
        connection.socket.close()
    assert counted(server) == {"ok": 8 + kept + 4}
    assert server.value("sameway_in_flight") == 0
    assert pids(server)["engine=0"] == before["engine=0"]
    assert server.stop() == 0


def test_a_killed_engine_is_replaced_while_the_front_ends_say_so(server: LiveServer, repository: Path) -> None:
    (repository / "toy" / "config.toml").write_text("queue_delay_seconds = 5")
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
    connections = [server.connect() for _ in range(7)]  # an eighth would fill a batch, and nobody would wait
    body = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))
    for connection in connections:
        connection.send(body)
    server.until(lambda: server.value("sameway_queue_rows") == 7, "waiting")
    before = pids(server)
    os.kill(before["engine=0"], signal.SIGKILL)
    answers = [connection.answer() for connection in connections]
    assert {(answer.status, answer.headers["retry-after"]) for answer in answers} == {(503, "1")}
    seen = Counter[int]()
    while 200 not in seen:
        # On connections that stay: no front end has noticed more than that its engine was gone.
        codes = [connection.send(request("GET", "/v2/models/toy")).answer().status for connection in connections]
        assert set(codes) <= {200, 503}
        seen.update(codes)
    server.until(lambda: server.ask("GET", "/v2/health/ready").status == 200, "ready")
    full = [server.connect() for _ in range(8)]
    for connection in full:
        connection.send(body)
    assert [connection.answer().status for connection in full] == [200] * 8
    for connection in (*connections, *full):
        connection.socket.close()
    assert {**pids(server), "engine=0": 0} == {**before, "engine=0": 0}
    assert counted(server) == {"ok": 8, "model_not_ready": 7}
    assert server.value("sameway_in_flight") == server.value("sameway_queue_rows") == 0
    assert server.stop() == 0


def test_a_stop_answers_what_was_accepted(server: LiveServer, repository: Path) -> None:
    (repository / "toy" / "config.toml").write_text("queue_delay_seconds = 1")
    assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
    connections = [server.connect() for _ in range(6)]
    for connection in connections:
        connection.send(request("POST", "/v2/models/toy/infer", infer_body(toys.images(1))))
    server.until(lambda: server.value("sameway_in_flight") == 6, "waiting")
    # As a service manager does: all processes at once.
    for pid in (*pids(server).values(), server.process.pid):
        os.kill(pid, signal.SIGTERM)
    assert [connection.answer().status for connection in connections] == [200] * 6
    for connection in connections:
        connection.socket.close()
    assert server.wait() == 0


def test_all_processes_end_when_their_supervisor_is_gone(server: LiveServer) -> None:
    found = list(pids(server).values())
    server.process.kill()
    server.process.wait()
    server.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in found), "all gone")


def test_requests_at_once_get_each_its_own_answer(server: LiveServer) -> None:
    pixels = toys.images(160)
    expected = toys.reference(pixels)["class"].tolist()
    found: dict[int, int] = {}

    def client(first: int) -> None:
        connection = server.connect()
        for place in range(first, 160, 16):
            connection.send(request("POST", "/v2/models/toy/infer", infer_body(pixels[place : place + 1])))
            outputs = {one["name"]: one["data"] for one in connection.answer().json()["outputs"]}
            found[place] = outputs["class"][0]
        connection.socket.close()

    threads = [threading.Thread(target=client, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[place] for place in range(160)] == expected
    assert counted(server) == {"ok": 160}


def test_what_is_published_is_found_by_watching(repository: Path) -> None:
    server = start(repository, "--watch-seconds", "0.05")
    try:
        toys.publish(repository, seed=1)
        server.until(lambda: {ask(server).json()["model_version"] for _ in range(4)} == {"2"}, "served by all")
    finally:
        server.kill()
