"""Large content is decoded in threads of its own, a bounded number of it, so that nobody else waits meanwhile."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import InvalidStateError, ThreadPoolExecutor

from serving.engine.answer import Answer
from serving.errors import Overloaded
from serving.request import InferResponse

Submit = Callable[[], "Answer[InferResponse]"]


class DecodingPool:
    """Runs functions that decode content and then submit it, and gives a future for what comes of both."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")
        self._places = threading.Semaphore(waiting)

    def submit(self, submit: Submit) -> "Answer[InferResponse]":
        """Run `submit` in a thread; raise Overloaded when too many wait for one. Cancelling gives up either half."""
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many large images wait to be decoded", retry_after_seconds=1)
        answer: Answer[InferResponse] = Answer()
        self._pool.submit(self._run, submit, answer)
        return answer

    def _run(self, submit: Submit, answer: "Answer[InferResponse]") -> None:
        try:
            if answer.cancelled():
                return
            inner = submit()
        except Exception as error:  # noqa: BLE001 - passed on to whoever waits for the answer
            with contextlib.suppress(InvalidStateError):  # who has left in the meantime
                answer.set_exception(error)
            return
        finally:
            self._places.release()
        answer.add_done_callback(lambda answer: inner.cancel() if answer.cancelled() else None)
        inner.add_done_callback(lambda inner: _pass_on(inner, answer))


def _pass_on(inner: "Answer[InferResponse]", answer: "Answer[InferResponse]") -> None:
    """Settle the outer future as the inner one was."""
    if inner.cancelled():
        answer.cancel()
        return
    error = inner.exception()
    with contextlib.suppress(InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(inner.result())
