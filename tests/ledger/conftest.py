"""The tracer's repositories, published once for all tests of the ledger. Do not write to them."""

from pathlib import Path

import pytest

from tests.ledger.publish import publish


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of the tracer, of which the second is served."""
    root = tmp_path_factory.mktemp("tracer")
    publish(root)
    publish(root)
    return root


@pytest.fixture(scope="session")
def unhurried_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracer that lets requests wait for company for long, so that many clients hang up while theirs wait in the queue.

    What it has not answered after two seconds, it answers with 504.
    """
    root = tmp_path_factory.mktemp("unhurried")
    publish(root, batch_rows=256, queue_delay_seconds=0.05, timeout_seconds=2)
    return root
