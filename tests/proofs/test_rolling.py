import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofs import rolling, telling
from proofs.server import Server
from proofs.verdict import table


@pytest.mark.skipif(rolling.nginx() is None, reason="nginx is not installed")
def test_a_rolling_restart_behind_nginx_fails_nobody() -> None:
    program = rolling.nginx()
    assert program is not None
    verdicts = rolling.prove(program, restarts=1)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


@contextlib.contextmanager
def _gone() -> Iterator[int]:
    """Give a port that answers nothing, as a machine does that has lost its power: its queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = int(listener.getsockname()[1])
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.3)
            try:
                waiting.connect(("127.0.0.1", port))
            except TimeoutError:
                yield port
                return


@pytest.mark.skipif(rolling.nginx() is None, reason="nginx is not installed")
def test_a_machine_that_is_gone_costs_a_second_and_no_request(tmp_path: Path) -> None:
    program = rolling.nginx()
    assert program is not None
    telling.publish(tmp_path / "models")
    server = Server.start(tmp_path / "models", frontend="fastapi").ready()
    try:
        with _gone() as gone, rolling.proxy(program, tmp_path, [gone, server.port]) as port:
            # In turns, so half of them meet the one that is gone first.
            for _ in range(4):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("GET", "/v2/health/ready")
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b'{"ready":true}')
                connection.close()
        assert "timed out" in (tmp_path / "error.log").read_text(), "the one that is gone was asked"
    finally:
        server.kill()


def test_the_configuration_is_the_one_that_people_copy_on_other_ports() -> None:
    text = rolling.configuration(Path("/somewhere"), 5000, [6000, 7000])
    assert "listen 127.0.0.1:5000;" in text
    assert "server 127.0.0.1:6000 " in text
    assert "server 127.0.0.1:7000 " in text
    others = [line for line in text.splitlines() if "_temp_path" not in line]
    assert len(others) == len(rolling.CONFIGURATION.read_text().splitlines())


def test_where_nginx_is_missing_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rolling, "nginx", lambda: None)
    monkeypatch.setattr("sys.argv", ["rolling"])
    assert rolling.main() == rolling.MISSING
    assert "nginx is not installed" in capsys.readouterr().err
