import pytest

from serving.health import Health
from serving.metrics import Metrics


class Engine:
    """An engine of which only one thing is asked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.abandoned = 0

    def hangs_for(self) -> float:
        return self.seconds

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.mark.parametrize(("seconds", "ends"), [(0.0, False), (5.0, False), (5.1, True)])
def test_a_process_ends_once_its_backend_hangs_for_too_long(seconds: float, ends: bool) -> None:
    engine = Engine()
    health = Health(engine, Metrics(), exit_seconds=5.0)
    assert not health.look()
    engine.seconds = seconds
    assert health.look() is ends
    assert health.hangs is ends
    assert not health.look(), "it is said once"
    assert engine.abandoned == int(ends)
