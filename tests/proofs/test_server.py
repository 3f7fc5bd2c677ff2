from pathlib import Path

import pytest

from proofs import models
from proofs.server import Server, ServerError, running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    models.publish(tmp_path, batch_rows=4, queue_rows=16)
    return tmp_path


def test_a_server_is_looked_at_stopped_and_started_again_on_its_port(root: Path) -> None:
    first = Server.start(root, "--drain-delay-seconds", "0").ready()
    assert first.executed_rows(models.MODEL) == 0
    assert first.resident_bytes() > 10_000_000
    assert first.threads() > 1
    assert first.descriptors() > 3
    assert first.cpu_seconds() > 0
    assert first.children() == []
    assert first.errors() == []
    assert first.stop() == 0
    second = first.again().ready()
    assert second.port == first.port
    assert second.kill() == -9


def test_a_server_that_cannot_start_says_why(root: Path) -> None:
    with pytest.raises(ServerError, match="port"):
        Server.start(root, "--no-such-flag")


def test_leaving_the_block_ends_the_server(root: Path) -> None:
    with running(root) as server:
        assert server.ask("/v2/health/ready")[0] == 200
    assert server.process.poll() is not None
