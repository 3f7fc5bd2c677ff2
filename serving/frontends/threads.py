"""Threads for requests that a WSGI application answers: as many as may wait at once, of which one at a time computes.

Python runs one thread at a time anyway. Where several want to, they hand the interpreter to each other again and again, and
each hand-over costs what a small model computes. So a thread is woken only if none is at work: one that begins to wait, for
a model mostly, says so with `waiting`, and the next may begin.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator


class Threads:
    """A pool. Thread-safe; its threads are daemons, made when they are first needed, and stay.

    `pauses` is called in a thread that has nothing more to do for now, or begins to wait.
    """

    def __init__(self, most: int, *, name: str, pauses: Callable[[], object] = lambda: None) -> None:
        self._pauses = pauses
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._work: deque[Callable[[], object]] = deque()
        # Threads with nothing to do, each asleep on a lock of its own; how many there are at all; how many are at work.
        self._idle: list[threading.Lock] = []
        self._made = 0
        self._working = 0

    def submit(self, work: Callable[[], object]) -> None:
        """Run this in a thread, in the order of submission. It must not raise.

        Raise RuntimeError where no thread can be made, and there is none that could do it later.
        """
        with self._lock:
            self._work.append(work)
            start = None if self._working else self._next()
        if start is not None and not self._begin(start) and not self._made:
            with self._lock:
                self._work.remove(work)
            raise RuntimeError("no thread can be made")

    def next_work(self) -> Callable[[], object] | None:
        """Return what waits longest for a thread."""
        try:
            return self._work[0]
        except IndexError:
            return None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let another thread work while this one, which is one of the pool, waits for something."""
        self._pauses()
        with self._lock:
            self._working -= 1
            start = self._next() if self._work and not self._working else None
        if start is not None:
            self._begin(start)
        try:
            yield
        finally:
            with self._lock:
                self._working += 1

    def _begin(self, start: Callable[[], None]) -> bool:
        """Wake a thread, or make one; tell whether that was possible."""
        try:
            start()
        except RuntimeError:  # the process may have no more threads
            with self._lock:
                self._made -= 1
                self._working -= 1
            return False
        return True

    def _next(self) -> Callable[[], None] | None:
        """Count one more thread at work; return what starts it, None where there is none left. The lock is held."""
        if self._idle:
            self._working += 1
            # The one that went to sleep last, whose memory is still warm.
            return self._idle.pop().release
        if self._made == self._most:
            return None
        self._made += 1
        self._working += 1
        return threading.Thread(target=self._run, name=f"{self._name}-{self._made}", daemon=True).start

    def _run(self) -> None:
        asleep = threading.Lock()
        asleep.acquire()
        while True:
            with self._lock:
                work = self._work.popleft() if self._work else None
                if work is None:
                    self._working -= 1
                    self._idle.append(asleep)
            if work is None:
                asleep.acquire()
                continue
            work()
            # Nothing of a request may live on in this frame while it waits for the next one.
            del work
            if not self._work:
                self._pauses()
