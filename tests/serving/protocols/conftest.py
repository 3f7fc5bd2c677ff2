"""What the tests of protocols share: the toy behind its routes, without a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.desk import Desk


@pytest.fixture
def desk(toy_repository: Path) -> Iterator[Desk]:
    desk = Desk(toy_repository)
    yield desk
    desk.close()
