"""An answer to come behaves as `concurrent.futures.Future` does, which is asked beside it."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.answer import Answer
from tests.serving.sessions import PATIENCE

STEPS = ("cancel", "begin", "result", "error", "watch")


def take(future: Any, step: str, told: list[str]) -> object:  # Any: either kind
    """Take one step, and return what came of it."""
    try:
        if step == "cancel":
            return future.cancel()
        if step == "begin":
            return future.set_running_or_notify_cancel()
        if step == "result":
            return future.set_result(1)
        if step == "error":
            return future.set_exception(ValueError("none"))
        return future.add_done_callback(lambda one: told.append(f"{one.done()} {one.cancelled()}"))
    except InvalidStateError:
        return "no such step"


def seen(future: Any) -> object:
    if not future.done():
        return "running" if future.running() else "waiting"
    if future.cancelled():
        with pytest.raises(CancelledError):
            future.result(0)
        with pytest.raises(CancelledError):
            future.exception(0)
        return "cancelled"
    error = future.exception(0)
    if error is None:
        return future.result(0)
    with pytest.raises(ValueError, match="none"):
        future.result(0)
    return repr(error)


@given(st.lists(st.sampled_from(STEPS), max_size=6))
def test_whatever_is_done_with_it_it_is_what_a_future_is(steps: list[str]) -> None:
    future: Future[int] = Future()
    answer: Answer[int] = Answer()
    told: tuple[list[str], list[str]] = ([], [])
    for number, step in enumerate(steps):
        if step == "begin" and not future.cancelled() and (future.running() or future.done()):
            with pytest.raises(InvalidStateError):
                answer.set_running_or_notify_cancel()
            continue  # the standard one logs it as a fault of the program, and raises another error
        if future.cancelled() and step == "begin" and "begin" in steps[:number]:
            continue  # and it keeps two states for one that is cancelled
        assert take(answer, step, told[1]) == take(future, step, told[0]), (steps, number)
        assert seen(answer) == seen(future)
        assert told[1] == told[0]


def test_a_thread_can_wait_for_it() -> None:
    answer: Answer[int] = Answer()
    threading.Timer(0.01, answer.set_result, [7]).start()
    assert answer.result(PATIENCE) == 7
    with pytest.raises(TimeoutError, match="no answer after 0 s"):
        Answer[int]().result(0)


def test_who_gives_it_up_is_heard_once_and_before_the_others() -> None:
    answer: Answer[int] = Answer()
    heard: list[str] = []
    answer.on_cancel = lambda: heard.append("left")
    answer.add_done_callback(lambda _: heard.append("done"))
    assert answer.cancel()
    assert answer.cancel()
    assert heard == ["left", "done"]


def test_once_it_has_begun_nobody_is_told_of_a_leaving() -> None:
    answer: Answer[int] = Answer()
    answer.on_cancel = lambda: pytest.fail("it cannot be given up any more")
    assert answer.set_running_or_notify_cancel()
    assert not answer.cancel()
    assert answer.on_cancel is None


def test_a_callback_that_fails_keeps_no_other_from_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    answer: Answer[int] = Answer()
    heard: list[int] = []
    answer.add_done_callback(lambda _: 1 / 0)
    answer.add_done_callback(lambda one: heard.append(one.result(0)))
    answer.set_result(3)
    assert heard == [3]
    assert "event=callback_failed" in caplog.text


def test_of_many_that_cancel_and_begin_at_once_one_wins() -> None:
    for _ in range(200):
        answer: Answer[int] = Answer()
        line = threading.Barrier(2)
        ended: list[bool] = []

        def leave(answer: Answer[int] = answer, line: threading.Barrier = line, ended: list[bool] = ended) -> None:
            line.wait()
            ended.append(answer.cancel())

        thread = threading.Thread(target=leave)
        thread.start()
        line.wait()
        begun = answer.set_running_or_notify_cancel()
        thread.join()
        assert begun is not ended[0]


def test_what_holds_it_is_let_go_without_the_garbage_collector() -> None:
    class Holder:
        def __init__(self) -> None:
            self.answer: Answer[int] = Answer()
            self.answer.on_cancel = self.hear
            self.answer.add_done_callback(self.hear)

        def hear(self, *_: object) -> None:
            pass

    gc.disable()
    try:
        holder = Holder()
        gone = weakref.ref(holder)
        holder.answer.set_result(1)
        del holder
        assert gone() is None
    finally:
        gc.enable()
