import threading

import pytest

from serving.health import HANGS, Health
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


def test_where_the_loop_hangs_with_its_backend_a_thread_ends_the_process() -> None:
    engine = Engine()
    ended: list[int] = []
    done = threading.Event()
    health = Health(engine, Metrics(), exit_seconds=0.05)

    def end(code: int) -> None:
        ended.append(code)
        done.set()

    health.watch(end, every_seconds=0.005)
    health.look()
    engine.seconds = 0.06
    assert done.wait(20), "nobody looks any more"
    assert ended == [HANGS]


def test_a_loop_that_looks_ends_the_process_itself() -> None:
    engine = Engine()
    ended: list[int] = []
    health = Health(engine, Metrics(), exit_seconds=60.0)
    health.watch(ended.append, every_seconds=0.001)
    engine.seconds = 61.0
    assert health.look()
    assert not ended
