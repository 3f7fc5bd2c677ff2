import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two test processes on two cores: torch's threads, which wait by spinning, would only take turns."""
    torch.set_num_threads(1)
