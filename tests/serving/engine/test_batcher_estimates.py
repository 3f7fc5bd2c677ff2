"""What a room tells of the time it will take, and whom it refuses for it."""

import time

import pytest

from serving.errors import Overloaded
from tests.serving.engine.rooms import PATIENCE, batcher, entry, filled, room_of_one_idle


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: deadlines and estimates are then compared to the digit, however slow the machine."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)


@pytest.mark.parametrize(
    ("rows", "seconds", "expected"),
    [(4, 0.1, 1), (4, 1.0, 3), (4, 1.7, 6), (1, 1.0, 3), (4, 0.0, 1), (4, 3600.0, 10_800)],
)
def test_retry_after_is_the_time_in_which_the_queue_will_have_cleared(rows: int, seconds: float, expected: int) -> None:
    room = batcher(batch_rows=4, queue_rows=12)
    room.finished(rows, seconds)
    filled(room, *[entry(4, expires_in=1e6) for _ in range(3)])
    with pytest.raises(Overloaded) as refused:
        room.put(entry())
    assert refused.value.retry_after_seconds == expected


def test_retry_after_is_a_second_before_anything_was_measured() -> None:
    room = batcher(queue_rows=1)
    room.put(entry())
    with pytest.raises(Overloaded) as refused:
        room.put(entry())
    assert refused.value.retry_after_seconds == 1


@pytest.mark.usefixtures("stopped_clock")
def test_retry_after_counts_the_batch_that_runs() -> None:
    room = batcher(batch_rows=4, queue_rows=4)
    room.finished(4, 5.0)
    filled(room, entry(4))
    assert room.take() is not None
    filled(room, entry(4))
    with pytest.raises(Overloaded) as refused:
        room.put(entry())
    assert refused.value.retry_after_seconds == 10


@pytest.mark.usefixtures("stopped_clock")
def test_who_cannot_be_answered_in_time_is_refused_with_the_time_it_takes_and_the_time_it_had() -> None:
    room = batcher(batch_rows=4, queue_rows=100)
    room.finished(4, 1.0)
    filled(room, *[entry(4) for _ in range(3)])  # three batches, and its own is the fourth
    room.put(entry(4, expires_in=4.5))
    with pytest.raises(Overloaded, match=r"an answer would take 5\.000 s, and the request has 2\.\d+ s left") as refused:
        room.put(entry(4, expires_in=2.5))
    assert refused.value.retry_after_seconds == 3
    assert room.rows() == 16


@pytest.mark.usefixtures("stopped_clock")
def test_before_anything_was_measured_nobody_is_refused_for_the_estimate() -> None:
    room = batcher(queue_rows=1_000)
    filled(room, *[entry(expires_in=0.5) for _ in range(1_000)])
    assert room.rows() == 1_000


def test_an_idle_server_refuses_nobody_whatever_it_has_measured() -> None:
    room = batcher()
    room.finished(1, 3600.0)
    with room_of_one_idle(room) as taken:
        room.put(entry(expires_in=5.0))
        taken.wait(PATIENCE)
    assert room.rows() == 0


@pytest.mark.usefixtures("stopped_clock")
def test_after_one_slow_batch_requests_are_soon_accepted_again() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    for _ in range(20):
        room.finished(1, 0.001)
    room.finished(1, 2.0)
    filled(room, entry())
    room.put(entry(expires_in=0.5))


@pytest.mark.usefixtures("stopped_clock")
def test_after_a_first_batch_that_was_slow_requests_are_soon_accepted_again() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 2.0)
    filled(room, entry())
    with pytest.raises(Overloaded):
        room.put(entry(expires_in=0.5))
    for _ in range(10):
        room.finished(1, 0.001)
    room.put(entry(expires_in=0.5))


@pytest.mark.usefixtures("stopped_clock")
def test_a_model_that_has_become_slower_is_noticed() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 0.001)
    for _ in range(20):
        room.finished(1, 1.0)
    filled(room, entry())
    with pytest.raises(Overloaded):
        room.put(entry(expires_in=1.0))


@pytest.mark.usefixtures("stopped_clock")
def test_a_batch_that_does_not_end_is_not_believed_to_end_at_once() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 0.001)
    filled(room, entry())
    assert room.take() is not None
    room._forecast._ends = dict.fromkeys(room._forecast._ends, time.monotonic() - 3.0)
    with pytest.raises(Overloaded, match=r"would take 3\.\d+ s"):
        room.put(entry(expires_in=2.0))
    room.put(entry(expires_in=4.0))


@pytest.mark.usefixtures("stopped_clock")
def test_several_busy_instances_share_what_waits() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 1.0)
    room._forecast._ends = dict.fromkeys(range(4), time.monotonic())
    filled(room, *[entry() for _ in range(8)])
    room.put(entry(expires_in=3.5))
    with pytest.raises(Overloaded):
        room.put(entry(expires_in=1.5))


@pytest.mark.usefixtures("stopped_clock")
def test_a_reserve_that_lets_nobody_wait_is_given_up_by_those_who_need_not() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 0.01)
    for _ in range(100):
        room._rate.observe_end(1.0)
    filled(room, entry())
    with pytest.raises(Overloaded):
        room.put(entry(expires_in=0.06))
    for _ in range(30):  # each finds the room empty and is served at once
        assert room.take() is not None
        room.finished(1, 0.01)
        room._forecast._ends.clear()
        filled(room, entry())
    room.put(entry(expires_in=0.06))


@pytest.mark.usefixtures("stopped_clock")
def test_only_those_of_the_same_or_a_better_priority_are_ahead() -> None:
    room = batcher(batch_rows=1, queue_rows=100)
    room.finished(1, 1.0)
    filled(room, *[entry(priority=2) for _ in range(10)])
    room.put(entry(priority=1, expires_in=1.5))
    with pytest.raises(Overloaded):
        room.put(entry(priority=2, expires_in=1.5))
    with pytest.raises(Overloaded):
        room.put(entry(priority=3, expires_in=1.5))


@pytest.mark.usefixtures("stopped_clock")
def test_batches_that_cannot_be_filled_are_not_counted_as_full() -> None:
    room = batcher(batch_rows=4, queue_rows=1_000)
    room.finished(3, 1.0)
    for _ in range(50):
        filled(room, entry(3), entry(3))
        assert room.take() is not None
        assert room.take() is not None
    room._forecast._ends.clear()
    filled(room, *[entry(3) for _ in range(8)])
    with pytest.raises(Overloaded):
        room.put(entry(3, expires_in=7.5))  # behind eight batches of three rows, not six of four
