"""A server's life, each test with a process of its own: it starts, it drains, it ends with 0."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests import toys
from tests.serving.desk import infer_body
from tests.serving.graphs import publish_counting
from tests.serving.live import LiveServer, request, serving
from tests.serving.test_hang import count_to

#: A request in flight for longer than it takes to look around, and answered all the same.
HELD = "queue_delay_seconds = 10\ntimeout_seconds = 60\nqueue_rows = 100"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a model that answers at once, one that takes its time, and one that is broken."""
    toys.publish(tmp_path, "toy")
    toys.publish(tmp_path, "slow")
    (tmp_path / "slow" / "config.toml").write_text(HELD)
    (toys.publish(tmp_path, "broken").path / "model.onnx").write_bytes(b"altered")
    return tmp_path


def held(server: LiveServer, connections: int) -> None:
    server.until(lambda: server.value("sameway_queue_rows", model="slow") == connections, "held")


def test_sigterm_ends_readiness_at_once_finishes_what_was_accepted_and_exits_with_0(root: Path) -> None:
    (root / "slow" / "config.toml").write_text("queue_delay_seconds = 3\nqueue_rows = 100")
    pixels = toys.images(5)
    server = LiveServer(root, "--drain-delay-seconds", "60")
    try:
        server.ready()
        connections = [server.connect() for _ in pixels]
        for connection, row in zip(connections, pixels, strict=True):
            connection.send(request("POST", "/v2/models/slow/infer", infer_body(row[np.newaxis])))
        held(server, 5)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.ask("GET", "/v2/health/ready").status == 503, "unready")
        # Whoever balances load may not have noticed yet: everything else goes on.
        assert server.ask("GET", "/v2/health/live").status == 200
        assert server.ask("POST", "/v2/models/toy/infer", infer_body(pixels[:1])).status == 200
        server.process.send_signal(signal.SIGTERM)  # a second one does not wait for the rest of the delay
        answers = [connection.answer() for connection in connections]
        expected = toys.reference(pixels)["class"].tolist()
        assert [answer.json()["outputs"][1]["data"][0] for answer in answers] == expected
        assert [answer.headers.get("connection") for answer in answers] == ["close"] * 5
        assert server.wait() == 0
        for connection in connections:
            connection.socket.close()
    finally:
        server.kill()
    assert not [line for line in server.log if "level=ERROR" in line and "model=broken" not in line]


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_requests_that_outlast_the_drain_are_told_503_in_our_own_words(root: Path, frontend: str) -> None:
    with serving(root, "--frontend", frontend, "--drain-seconds", "1") as server, server.connect() as connection:
        connection.send(request("POST", "/v2/models/slow/infer", infer_body(toys.images(1))))
        held(server, 1)
        server.process.send_signal(signal.SIGTERM)
        answer = connection.answer()
        assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_with_0(root: Path, number: signal.Signals) -> None:
    with serving(root) as server, server.connect() as connection:
        connection.send(request("GET", "/v2/health/live")).answer()  # kept alive, and idle
        server.process.send_signal(number)
        assert server.wait() == 0
        assert connection.closed()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1])
def test_a_signal_while_models_are_loading_ends_with_0(toy_in_every_format: Path, tmp_path: Path, delay: float) -> None:
    (tmp_path / "toy").symlink_to(toy_in_every_format / "toy", target_is_directory=True)
    server = LiveServer(tmp_path, "--drain-delay-seconds", "0")
    try:
        began = time.monotonic()
        server.until(lambda: time.monotonic() - began >= delay, "later")
        assert server.stop() == 0
    finally:
        server.kill()


def test_one_broken_model_leaves_the_others_in_service_and_says_why(root: Path) -> None:
    with serving(root) as server:
        lines = {line["name"]: line for line in server.ask("POST", "/v2/repository/index", b"").json()}
        assert {name: line["state"] for name, line in lines.items()} == {
            "broken": "UNAVAILABLE",
            "slow": "READY",
            "toy": "READY",
        }
        assert "model.onnx: expected" in lines["broken"]["reason"]
        assert server.ask("GET", "/v2/models/broken/ready").status == 503
        answer = server.ask("POST", "/v2/models/broken/infer", infer_body(toys.images(1)))
        assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
        assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200
        assert server.value("sameway_model_state", model="broken", state="unavailable") == 1


def test_a_server_without_a_model_lives_and_is_not_ready(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, "--drain-delay-seconds", "0")
    try:
        server.until(lambda: any("event=loaded" in line for line in server.log), "loaded")
        assert server.ask("GET", "/v2/health/live").status == 200
        assert server.ask("GET", "/v2/health/ready").status == 503
        assert server.ask("POST", "/v2/repository/index", b"").json() == []
        assert server.stop() == 0
    finally:
        server.kill()


def test_the_port_is_free_again_at_once(root: Path) -> None:
    with serving(root) as server:
        server.ask("GET", "/v2/health/live")
        port = server.port
        assert server.stop() == 0
    with serving(root, "--port", str(port)) as again:
        assert again.port == port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_many_models_are_loading_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    for index in range(20):
        toys.publish(tmp_path, f"toy{index:02}")
    for _ in range(3):  # an interpreter that ends beside a runtime at work aborts only sometimes
        server = LiveServer(tmp_path, "--drain-delay-seconds", "0")
        try:
            server.process.send_signal(number)
            assert server.wait() == 0
        finally:
            server.kill()


def test_while_draining_every_answer_says_that_the_connection_ends(root: Path) -> None:
    server = LiveServer(root, "--drain-delay-seconds", "60")
    try:
        server.ready()
        with server.connect() as connection:
            assert "connection" not in connection.send(request("GET", "/v2/health/ready")).answer().headers
            server.process.send_signal(signal.SIGTERM)
            server.until(lambda: server.ask("GET", "/v2/health/ready").status == 503, "not ready")
            answer = connection.send(request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))).answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_a_batch_that_outlasts_the_drain_is_told_503_and_the_process_ends_with_0(tmp_path: Path, frontend: str) -> None:
    """While a runtime computes in a thread, an interpreter that ends in its own way is aborted, or waits for it."""
    publish_counting(tmp_path)
    (tmp_path / "counting" / "config.toml").write_text("timeout_seconds = 300\nhang_seconds = 300")
    flags = ("--frontend", frontend, "--drain-delay-seconds", "0", "--drain-seconds", "1")
    server = LiveServer(tmp_path, *flags).ready()
    try:
        with server.connect() as running:
            running.send(count_to(10**15))
            server.until(lambda: server.value("sameway_in_flight") == 1, "running")
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            answer = running.answer()
            assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
        assert server.wait() == 0
        assert time.monotonic() - began < 8
    finally:
        server.kill()
