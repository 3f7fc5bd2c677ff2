"""An answer to come: what front ends wait for, and instances give.

It has the methods, states and errors of `concurrent.futures.Future`, as far as an engine needs them. That one makes a
condition variable of Python code for every request, which costs more than all the rest of waiting; here a thread that
blocks makes its own event, and who is called back, as every front end is, needs none.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

_WAITING, _RUNNING, _CANCELLED, _DONE = range(4)


class Answer(Generic[T]):
    """Thread-safe. Waiting, then running or cancelled; running, then done: each step happens once."""

    __slots__ = ("_callbacks", "_error", "_lock", "_result", "_state", "on_cancel")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = _WAITING
        self._result: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], object]] = []  # Any: this very object
        #: Called once, in front of all callbacks, where the answer is given up; forgotten once it cannot be any more.
        self.on_cancel: Callable[[], object] | None = None

    def cancel(self) -> bool:
        """Give the answer up; tell whether that was still possible, or has happened before."""
        with self._lock:
            if self._state != _WAITING:
                return self._state == _CANCELLED
            self._state = _CANCELLED
            leave, self.on_cancel = self.on_cancel, None
        if leave is not None:
            leave()
        self._call_back()
        return True

    def set_running_or_notify_cancel(self) -> bool:
        """Begin, from where on it cannot be cancelled; tell whether it was not. Raise InvalidStateError the second time."""
        with self._lock:
            if self._state == _WAITING:
                self._state = _RUNNING
                self.on_cancel = None
                return True
            if self._state == _CANCELLED:
                return False
        raise InvalidStateError("the answer is being computed already, or there")

    def set_result(self, result: T) -> None:
        """Give the answer; raise InvalidStateError where there is one, or nobody wants it."""
        with self._lock:
            if self._state >= _CANCELLED:
                raise InvalidStateError("there is an answer already, or nobody wants one")
            self._result = result
            self._state = _DONE
            self.on_cancel = None
        self._call_back()

    def set_exception(self, error: BaseException) -> None:
        """Say why there is none; raise InvalidStateError as `set_result` does."""
        with self._lock:
            if self._state >= _CANCELLED:
                raise InvalidStateError("there is an answer already, or nobody wants one")
            self._error = error
            self._state = _DONE
            self.on_cancel = None
        self._call_back()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call this with the answer once it is done or cancelled, in whatever thread that happens; at once if it is."""
        with self._lock:
            if self._state < _CANCELLED:
                self._callbacks.append(callback)
                return
        self._call(callback)

    def cancelled(self) -> bool:
        """Tell whether it was given up."""
        return self._state == _CANCELLED

    def running(self) -> bool:
        """Tell whether it is being computed."""
        return self._state == _RUNNING

    def done(self) -> bool:
        """Tell whether there is nothing to wait for any more."""
        return self._state >= _CANCELLED

    def result(self, timeout: float | None = None) -> T:
        """Return the answer, or raise why there is none; CancelledError, or TimeoutError where it takes longer."""
        self._wait(timeout)
        if self._state == _CANCELLED:
            raise CancelledError
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # else the error's traceback would hold this frame, and so itself
        return self._result  # type: ignore[return-value]  # it is done, and has no error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return why there is no answer, None if there is one; raise CancelledError or TimeoutError."""
        self._wait(timeout)
        if self._state == _CANCELLED:
            raise CancelledError
        return self._error

    def _wait(self, timeout: float | None) -> None:
        if self._state >= _CANCELLED:
            return
        happened = threading.Event()
        self.add_done_callback(lambda _: happened.set())
        if not happened.wait(timeout):
            raise TimeoutError(f"no answer after {timeout:g} s")

    def _call_back(self) -> None:
        # Nobody adds to them any more. A callback may hold this answer: with the list such a ring is gone.
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            log.exception("event=callback_failed")
