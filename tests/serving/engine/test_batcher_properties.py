"""Whatever is put, taken, cancelled and closed, in whatever order: nothing is lost, nothing is taken twice."""

import random
import threading
import time

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.errors import DeadlineExceeded, ModelNotReady, Overloaded
from serving.request import InferRequest

BATCH_ROWS = 4
QUEUE_ROWS = 12
PATIENCE = 20.0


def entry(rows: int, shape: str, *, expires_in: float) -> Entry:
    request = InferRequest("toy", None, {"x": np.zeros(rows, np.float32)})
    return Entry(request, rows=rows, shape=shape, deadline=time.monotonic() + expires_in)


class WaitingRoom(RuleBasedStateMachine):
    """The batcher beside the simplest model of it: a list of who waits, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Batcher(batch_rows=BATCH_ROWS, queue_rows=QUEUE_ROWS)
        self.waiting: list[Entry] = []
        self.closed = False

    @rule(rows=st.integers(1, BATCH_ROWS), shape=st.sampled_from("ab"), expired=st.sampled_from([False, False, True]))
    def put(self, rows: int, shape: str, expired: bool) -> None:
        one = entry(rows, shape, expires_in=0.0 if expired else PATIENCE)
        fits = sum(other.rows for other in self.waiting) + rows <= QUEUE_ROWS
        try:
            self.room.put(one)
        except DeadlineExceeded:
            assert expired
        except ModelNotReady:
            assert self.closed
        except Overloaded:
            assert not self.closed
            assert not fits
        else:
            assert not self.closed
            assert fits
            self.waiting.append(one)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        assert one.future.cancel()
        self.waiting.remove(one)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.waiting)).deadline = time.monotonic()

    @precondition(lambda self: any(one.deadline > time.monotonic() for one in self.waiting))
    @rule()
    def take(self) -> None:
        self._check(self.room.take())

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.room.close()
        self.closed = True

    @invariant()
    def rows_are_exact(self) -> None:
        assert self.room.rows() == sum(one.rows for one in self.waiting)

    def teardown(self) -> None:
        self.room.close()
        while (batch := self.room.take()) is not None:
            self._check(batch)
        expired = [one for one in self.waiting if one.deadline <= time.monotonic()]
        assert all(isinstance(one.future.exception(timeout=0), DeadlineExceeded) for one in expired)
        assert len(expired) == len(self.waiting)

    def _check(self, batch: list[Entry] | None) -> None:
        """Compare a batch with the one that the model gives out; lines of expired entries alone are passed over."""
        now = time.monotonic()
        expected: list[Entry] = []
        while not expected:
            line: list[Entry] = []
            for one in [other for other in self.waiting if other.line == self.waiting[0].line]:
                live = [other.rows for other in line if other.deadline > now]
                if live and one.deadline > now and sum(live) + one.rows > BATCH_ROWS:
                    break
                line.append(one)
            self.waiting = [one for one in self.waiting if one not in line]
            expected = [one for one in line if one.deadline > now]
            assert all(isinstance(one.future.exception(timeout=0), DeadlineExceeded) for one in line if one.deadline <= now)
        assert batch == expected


TestWaitingRoom = WaitingRoom.TestCase


def test_under_threads_every_entry_comes_to_exactly_one_end() -> None:
    room = Batcher(batch_rows=BATCH_ROWS, queue_rows=64)
    taken: list[Entry] = []
    accepted: list[Entry] = []
    refused: list[Entry] = []

    def take() -> None:
        while (batch := room.take()) is not None:
            assert sum(one.rows for one in batch) <= BATCH_ROWS
            taken.extend(one for one in batch if one.future.set_running_or_notify_cancel())

    def put(seed: int) -> None:
        choices = random.Random(seed)
        for _ in range(400):
            one = entry(choices.randint(1, 4), choices.choice("ab"), expires_in=choices.choice([PATIENCE, PATIENCE, 1e-4]))
            try:
                room.put(one)
            except (Overloaded, DeadlineExceeded):
                refused.append(one)
                continue
            accepted.append(one)
            if choices.random() < 0.3:
                one.future.cancel()

    takers = [threading.Thread(target=take, daemon=True) for _ in range(2)]
    clients = [threading.Thread(target=put, args=(seed,), daemon=True) for seed in range(3)]
    for thread in (*takers, *clients):
        thread.start()
    for client in clients:
        client.join(PATIENCE)
    room.close()
    for taker in takers:
        taker.join(PATIENCE)
        assert not taker.is_alive()

    assert len(accepted) + len(refused) == 3 * 400
    assert len(set(taken)) == len(taken)
    cancelled = {one for one in accepted if one.future.cancelled()}
    expired = {one for one in accepted if one.future.done() and not one.future.cancelled()}
    assert set(taken) | cancelled | expired == set(accepted)
    assert len(taken) + len(cancelled) + len(expired) == len(accepted)
    assert all(one.deadline < time.monotonic() for one in expired)
    assert room.rows() == 0
