"""A backend that hangs, for real: a loop of 10¹⁵ steps inside ONNX Runtime. It is reported, and its process replaced."""

import json
import re
from pathlib import Path

import pytest

from tests import toys
from tests.serving.desk import infer_body
from tests.serving.graphs import publish_counting
from tests.serving.live import LiveServer, request

HANGS = 70


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish_counting(tmp_path)
    (tmp_path / "counting" / "config.toml").write_text("hang_seconds = 0.3\ntimeout_seconds = 60")
    toys.publish(tmp_path)
    return tmp_path


def count_to(trips: int) -> bytes:
    body = {"inputs": [{"name": "trips", "datatype": "INT64", "shape": [], "data": [trips]}]}
    return request("POST", "/v2/models/counting/infer", json.dumps(body).encode())


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_it_is_reported_and_then_the_process_ends_with_70_and_nobody_is_left_without_an_answer(
    repository: Path, frontend: str
) -> None:
    server = LiveServer(
        repository, "--frontend", frontend, "--hang-exit-seconds", "1.5", "--drain-delay-seconds", "0"
    ).ready()
    try:
        with server.connect() as running, server.connect() as waiting:
            assert running.send(count_to(3)).answer().json()["outputs"][0]["data"] == [3]
            assert server.ask("GET", "/v2/health/live").status == 200
            running.send(count_to(10**15))
            server.until(lambda: server.value("sameway_in_flight") == 1, "running")
            waiting.send(count_to(3))
            server.until(lambda: server.ask("GET", "/v2/health/live").status == 503, "reported")
            assert server.ask("GET", "/v2/models/counting/ready").status == 503
            (status,) = [one for one in server.ask("POST", "/v2/repository/index").json() if one["name"] == "counting"]
            assert (status["state"], status["reason"]) == ("UNAVAILABLE", "a batch runs for more than 0.3 s")
            with server.connect() as late:
                assert late.send(count_to(3)).answer().status == 503
            assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200, "others go on"
            for connection in (running, waiting):
                answer = connection.answer()
                assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
        assert server.wait() == HANGS
    finally:
        server.kill()


def test_among_several_workers_only_the_one_that_hangs_is_replaced(repository: Path) -> None:
    server = LiveServer(repository, "--workers", "2", "--hang-exit-seconds", "0.3", "--drain-delay-seconds", "0").ready()
    try:
        server.until(lambda: sum("event=loaded" in line for line in server.log) == 2, "both have loaded")
        with server.connect() as running:
            answer = running.send(count_to(10**15)).answer()
            assert answer.status == 503
        server.until(lambda: sum("event=loaded" in line for line in server.log) == 3, "replaced")
        ended = [line for line in server.log if "event=worker_ended" in line]
        assert [re.search(r"exit_code=(-?\d+)", line)[1] for line in ended] == [str(HANGS)]  # type: ignore[index]
        assert server.value("sameway_model_state", model="counting", state="ready") == 2
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_model_whose_values_decide_how_long_it_takes_is_never_run_by_the_event_loop(repository: Path) -> None:
    """However often it was cheap: others are answered while it hangs."""
    server = LiveServer(repository, "--hang-exit-seconds", "60", "--drain-delay-seconds", "0").ready()
    try:
        with server.connect() as connection:
            for _ in range(40):
                assert connection.send(count_to(1)).answer().status == 200
            connection.send(count_to(10**15))
            server.until(lambda: server.ask("GET", "/v2/health/live").status == 503, "reported")
            assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200
    finally:
        server.kill()


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_an_engine_of_several_front_ends_is_replaced_and_they_stay(repository: Path, frontend: str) -> None:
    flags = ("--frontend", frontend, "--hang-exit-seconds", "1.5", "--drain-delay-seconds", "0")
    server = LiveServer(repository, "--frontends", "2", *flags).ready()
    try:
        with server.connect() as running, server.connect() as waiting:
            running.send(count_to(10**15))
            server.until(lambda: server.value("sameway_in_flight") == 1, "running")
            waiting.send(count_to(3))
            server.until(lambda: server.ask("GET", "/v2/health/live").status == 503, "reported")
            assert server.ask("GET", "/v2/models/counting/ready").status == 503
            with server.connect() as late:
                answer = late.send(count_to(3)).answer()
                assert answer.json()["error"] == "model 'counting' is not ready: a batch runs for more than 0.3 s"
            assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200, "others go on"
            for connection in (running, waiting):
                answer = connection.answer()
                assert (answer.status, answer.json()["code"]) == (503, "model_not_ready")
            server.until(lambda: sum("event=loaded" in line for line in server.log) == 2, "replaced")
            server.until(lambda: server.ask("GET", "/v2/models/counting/ready").status == 200, "ready")
            for connection in (running, waiting):
                assert connection.send(count_to(3)).answer().status == 200, "the same connection"
        ended = [line for line in server.log if "_ended " in line]
        assert [re.search(r"event=(\w+) .* exit_code=(-?\d+)", line).groups() for line in ended] == [  # type: ignore[union-attr]
            ("engine_ended", str(HANGS))
        ]
        assert server.stop() == 0
    finally:
        server.kill()
