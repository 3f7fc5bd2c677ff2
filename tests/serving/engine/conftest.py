"""What the tests of engines share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.repository import Repository
from serving.engine.local import LocalEngine
from serving.metrics import Metrics
from tests.serving.sessions import PATIENCE


@pytest.fixture
def load() -> Iterator[Callable[..., LocalEngine]]:
    """Return an engine on a repository, with everything loaded; it is closed after the test."""
    engines: list[LocalEngine] = []

    def begin(root: Path, *, models: tuple[str, ...] | None = None, metrics: Metrics | None = None) -> LocalEngine:
        engines.append(LocalEngine(Repository(root), metrics or Metrics(), models=models))
        engines[-1].load_all()
        return engines[-1]

    yield begin
    for engine in engines:
        engine.close(drain_seconds=PATIENCE)
