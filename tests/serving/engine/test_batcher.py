import threading
import time

import pytest

from serving.engine.entry import Entry
from serving.errors import DeadlineExceeded, ModelNotReady, Overloaded
from tests.serving.engine.rooms import PATIENCE, batcher, entry, expired, filled


def test_an_empty_room_has_no_batch_due() -> None:
    assert batcher().due_in(time.monotonic()) is None


def test_without_a_delay_a_batch_is_due_at_once() -> None:
    room = batcher()
    room.put(entry())
    assert room.due_in(time.monotonic()) == 0.0


def test_with_a_delay_a_batch_is_due_when_its_oldest_entry_has_waited_so_long() -> None:
    room = batcher(delay_seconds=2.0)
    first, second = filled(room, entry(), entry())
    second.queued = first.queued + 1.0
    assert room.due_in(first.queued) == pytest.approx(2.0)
    assert room.due_in(first.queued + 1.5) == pytest.approx(0.5)
    assert room.due_in(first.queued + 2.0) == 0.0
    assert room.due_in(first.queued + 99.0) == 0.0


def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    room = batcher(batch_rows=4, delay_seconds=PATIENCE)
    first, _ = filled(room, entry(3), entry(1))
    assert room.due_in(first.queued) == 0.0


def test_entries_of_another_shape_do_not_fill_a_batch() -> None:
    room = batcher(batch_rows=4, delay_seconds=5.0)
    first, _ = filled(room, entry(3, shape="a"), entry(3, shape="b"))
    assert room.due_in(first.queued) == pytest.approx(5.0)


def test_looking_when_a_batch_is_due_changes_nothing() -> None:
    room = batcher()
    waiting = filled(room, entry(2), entry(1))
    for _ in range(3):
        room.due_in(time.monotonic())
    assert room.rows() == 3
    assert room.take() == waiting


def test_a_closed_room_waits_for_no_company() -> None:
    room = batcher(delay_seconds=PATIENCE)
    waiting = filled(room, entry())
    room.close()
    assert room.take() == waiting


def test_entries_leave_in_the_order_in_which_they_came() -> None:
    room = batcher(batch_rows=3)
    waiting = filled(room, *[entry() for _ in range(7)])
    assert room.take() == waiting[:3]
    assert room.take() == waiting[3:6]
    assert room.take() == waiting[6:]


def test_a_batch_never_exceeds_its_rows_and_never_overtakes() -> None:
    room = batcher(batch_rows=4)
    waiting = filled(room, entry(3), entry(2), entry(1))
    assert room.take() == waiting[:1]  # the last one would fit, but the one before it came first
    assert room.take() == waiting[1:]


def test_only_entries_of_equal_shape_share_a_batch_and_the_oldest_goes_first() -> None:
    room = batcher()
    wide, narrow, wide_too = filled(room, entry(shape=(8,)), entry(shape=(2,)), entry(shape=(8,)))
    assert room.take() == [wide, wide_too]
    assert room.take() == [narrow]


def test_rows_are_counted_not_requests() -> None:
    room = batcher(queue_rows=5)
    filled(room, entry(3), entry(2))
    assert room.rows() == 5
    with pytest.raises(Overloaded, match="5 of 5 rows wait"):
        room.put(entry(1))
    assert room.rows() == 5


def test_a_refused_entry_was_never_in_the_room() -> None:
    room = batcher(queue_rows=2)
    waiting = filled(room, entry(2))
    refused = entry(1)
    with pytest.raises(Overloaded):
        room.put(refused)
    assert room.take() == waiting
    assert not refused.future.done()
    assert room.rows() == 0


def test_what_fits_is_still_taken_in_after_a_refusal() -> None:
    room = batcher(queue_rows=4)
    filled(room, entry(3))
    with pytest.raises(Overloaded):
        room.put(entry(2))
    room.put(entry(1))
    assert room.rows() == 4


def test_a_time_that_is_over_is_no_overload_and_takes_no_place() -> None:
    room = batcher()
    with pytest.raises(DeadlineExceeded):
        room.put(entry(expires_in=0.0))
    assert room.rows() == 0


def test_an_entry_given_up_at_its_deadline_frees_its_place_though_nobody_takes() -> None:
    room = batcher(queue_rows=2)
    (late,) = filled(room, entry(2, expires_in=5.0))
    with pytest.raises(Overloaded):
        room.put(entry())
    late.future.cancel()  # as a front end does when its timer says so
    room.put(entry(2))
    assert room._levels == {0: 2}


def test_a_cancelled_entry_frees_its_place_at_once() -> None:
    room = batcher(queue_rows=4)
    first, second, third = filled(room, entry(1), entry(2), entry(1))
    assert second.future.cancel()
    assert room.rows() == 2
    fourth = entry(2)
    room.put(fourth)
    assert room.take() == [first, third, fourth]


def test_discarding_twice_or_after_the_entry_was_taken_does_nothing() -> None:
    room = batcher()
    gone, stays = filled(room, entry(2), entry(1))
    room.discard(gone)
    room.discard(gone)
    assert room.rows() == 1
    assert room.take() == [stays]
    room.discard(stays)
    assert room.rows() == 0


def test_an_entry_cancelled_before_it_was_put_is_not_left_behind() -> None:
    room = batcher()
    gone = entry()
    gone.future.cancel()
    room.put(gone)
    assert room.rows() == 0
    assert room.due_in(time.monotonic()) is None


def test_an_expired_entry_is_told_so_and_is_in_no_batch() -> None:
    room = batcher()
    late, timely = filled(room, entry(), entry())
    expired(late)
    assert room.take() == [timely]
    assert isinstance(late.future.exception(timeout=PATIENCE), DeadlineExceeded)
    assert room.rows() == 0


def test_a_batch_of_expired_entries_is_no_batch() -> None:
    room = batcher(batch_rows=2)
    late = filled(room, entry(), entry())
    expired(*late)
    timely = entry()
    room.put(timely)
    assert room.take() == [timely]
    assert all(isinstance(one.future.exception(timeout=PATIENCE), DeadlineExceeded) for one in late)


def test_expired_entries_take_nobodys_place_in_the_batch() -> None:
    room = batcher(batch_rows=2)
    late, first, second, third = filled(room, entry(2), entry(), entry(), entry())
    expired(late)
    assert room.take() == [first, second]
    assert room.take() == [third]


def test_a_closed_room_takes_nothing_in_and_gives_out_what_it_has() -> None:
    room = batcher()
    waiting = filled(room, entry())
    room.close()
    with pytest.raises(ModelNotReady) as refused:
        room.put(entry())
    assert refused.value.retry_after_seconds == 1
    assert room.take() == waiting
    assert room.take() is None
    assert room.take() is None


def test_closing_wakes_everybody_who_waits() -> None:
    room = batcher()
    taken: list[list[Entry] | None] = []
    takers = [threading.Thread(target=lambda: taken.append(room.take()), daemon=True) for _ in range(4)]
    for taker in takers:
        taker.start()
    room.close()
    for taker in takers:
        taker.join(PATIENCE)
    assert taken == [None] * 4


def test_a_waiting_taker_gets_what_is_put() -> None:
    room = batcher()
    taken: list[list[Entry] | None] = []
    taker = threading.Thread(target=lambda: taken.append(room.take()), daemon=True)
    taker.start()
    one = entry()
    room.put(one)
    taker.join(PATIENCE)
    assert taken == [[one]]


def test_a_taker_waits_for_the_delay_and_no_longer() -> None:
    room = batcher(delay_seconds=0.05)
    one = entry()
    room.put(one)
    assert room.take() == [one]
    assert time.monotonic() - one.queued >= 0.05


def test_several_takers_share_all_entries_and_none_is_taken_twice() -> None:
    room = batcher(batch_rows=4, queue_rows=10_000)
    batches: list[list[Entry]] = []

    def take() -> None:
        while (batch := room.take()) is not None:
            batches.append(batch)

    takers = [threading.Thread(target=take, daemon=True) for _ in range(4)]
    for taker in takers:
        taker.start()
    waiting = [entry(1 + number % 3, shape=number % 2) for number in range(1_000)]
    filled(room, *waiting)
    room.close()
    for taker in takers:
        taker.join(PATIENCE)
        assert not taker.is_alive()
    assert sorted(map(id, (one for batch in batches for one in batch))) == sorted(map(id, waiting))
    assert all(sum(one.rows for one in batch) <= 4 for batch in batches)
    assert all(len({one.line for one in batch}) == 1 for batch in batches)
    assert room.rows() == 0
