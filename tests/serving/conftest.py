"""What the tests of serving share: a repository with a toy in both formats, written once, to be read only."""

import sys
from pathlib import Path

import pytest

from tests import toys


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Keep torch, where a test has imported it, to one thread: its threads wait by spinning, and two cores are few."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def toy_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the model `toy` as ONNX. Do not write to it: others read it too."""
    root = tmp_path_factory.mktemp("toy")
    toys.publish(root)
    return root


@pytest.fixture(scope="session")
def toy_in_every_format(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the model `toy` in every format. Do not write to it: others read it too."""
    root = tmp_path_factory.mktemp("every")
    toys.publish(root, formats=tuple(toys.FILES))
    return root
