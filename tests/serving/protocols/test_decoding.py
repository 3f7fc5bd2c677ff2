import contextlib
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from serving.engine.answer import Answer
from serving.errors import InvalidInput, Overloaded
from serving.protocols.decoding import DecodingPool
from serving.request import InferResponse, Timings
from tests.serving.sessions import PATIENCE

Wanted = Answer[InferResponse]


def response() -> InferResponse:
    return InferResponse("toy", 1, "", {"y": np.zeros(1)}, None, Timings(0, 0, 0, 0))


def answered(with_: InferResponse) -> Wanted:
    future: Wanted = Wanted()
    future.set_result(with_)
    return future


def test_the_answer_is_what_the_submitted_request_is_answered() -> None:
    expected = response()
    assert DecodingPool(threads=1, waiting=1).submit(lambda: answered(expected)).result(PATIENCE) is expected


def test_an_answer_that_comes_later_is_passed_on() -> None:
    inner: Wanted = Wanted()
    submitted = threading.Event()

    def submit() -> Wanted:
        submitted.set()
        return inner

    outer = DecodingPool(threads=1, waiting=1).submit(submit)
    assert submitted.wait(PATIENCE)
    assert not outer.done()
    expected = response()
    inner.set_result(expected)
    assert outer.result(PATIENCE) is expected


@pytest.mark.parametrize("error", [InvalidInput("no image"), ZeroDivisionError("ours"), MemoryError()])
def test_an_error_while_decoding_and_one_while_running_are_passed_on(error: Exception) -> None:
    def fail() -> Wanted:
        raise error

    pool = DecodingPool(threads=1, waiting=1)
    assert pool.submit(fail).exception(PATIENCE) is error
    inner: Wanted = Wanted()
    inner.set_exception(error)
    assert pool.submit(lambda: inner).exception(PATIENCE) is error


def test_places_are_bounded_and_free_again_after_every_end() -> None:
    pool = DecodingPool(threads=1, waiting=2)
    for _ in range(3):
        hold = threading.Event()

        def submit(hold: threading.Event = hold) -> Wanted:
            assert hold.wait(PATIENCE)
            raise InvalidInput("no image")

        held = [pool.submit(submit) for _ in range(2)]
        with pytest.raises(Overloaded) as refused:
            pool.submit(submit)
        assert refused.value.retry_after_seconds == 1
        held[1].cancel()
        hold.set()
        assert isinstance(held[0].exception(PATIENCE), InvalidInput)
        _settled(pool)


def test_cancelling_before_the_thread_comes_to_it_saves_the_work() -> None:
    pool = DecodingPool(threads=1, waiting=2)
    hold, begun = threading.Event(), []

    def submit(name: str) -> Wanted:
        begun.append(name)
        assert hold.wait(PATIENCE)
        return answered(response())

    first, second = pool.submit(lambda: submit("first")), pool.submit(lambda: submit("second"))
    assert second.cancel()
    hold.set()
    first.result(PATIENCE)
    _settled(pool)
    assert begun == ["first"]
    with pytest.raises(CancelledError):
        second.result(0)


def test_cancelling_afterwards_cancels_the_request_that_waits() -> None:
    inner: Wanted = Wanted()
    submitted, watched = threading.Event(), threading.Event()
    inner.add_done_callback(lambda _: watched.set())

    def submit() -> Wanted:
        submitted.set()
        return inner

    outer = DecodingPool(threads=1, waiting=1).submit(submit)
    assert submitted.wait(PATIENCE)
    assert outer.cancel()
    assert watched.wait(PATIENCE)
    assert inner.cancelled()


def test_an_answer_that_meets_a_cancelled_request_is_dropped() -> None:
    inner: Wanted = Wanted()
    submitted = threading.Event()

    def submit() -> Wanted:
        submitted.set()
        return inner

    outer = DecodingPool(threads=1, waiting=1).submit(submit)
    assert submitted.wait(PATIENCE)
    inner.set_running_or_notify_cancel()
    assert outer.cancel()
    inner.set_result(response())
    assert outer.cancelled()


def _settled(pool: DecodingPool) -> None:
    """Wait until the pool's only thread has come to the end of what it was given."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(Overloaded):
            pool.submit(lambda: answered(response())).result(PATIENCE)
            return
    pytest.fail("no place became free")
