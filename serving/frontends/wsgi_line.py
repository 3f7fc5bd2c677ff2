"""The line for the threads in which a WSGI application runs: who gets one, who waits, and who is told at once not to.

The engine sees a request only once it has a thread, so the line for threads needs bounds of its own: in length and in time.
"""

import time
from collections.abc import Callable

from serving.engine.admission import retry_after
from serving.errors import Overloaded
from serving.frontends.threads import Threads
from serving.frontends.wsgi import AT_ONCE, Environ, Leaving, WsgiApp, call
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, Reply
from serving.protocols.waiting import Computed

#: Weight of the newest request in the time for which one keeps its thread: half of the memory is younger than seven.
_WEIGHT = 0.1


class Turn:
    """One request's turn in a thread. `reply` is there once it has been told to be over."""

    __slots__ = ("_app", "_environ", "_tell", "begun", "kept_seconds", "leaving", "reply", "size_bytes")

    def __init__(self, app: WsgiApp, environ: Environ, leaving: Leaving, tell: Callable[["Turn"], object]) -> None:
        self._app = app
        self._environ = environ
        self._tell = tell
        self.leaving = leaving
        self.size_bytes = int(environ["CONTENT_LENGTH"])
        self.begun = False
        self.kept_seconds = 0.0
        self.reply: Reply | None = None

    def __call__(self) -> None:
        """Run the application. In a thread."""
        self.begun = True
        started = time.monotonic()
        self.reply = call(self._app, self._environ)
        self.kept_seconds = time.monotonic() - started
        self._environ = {}
        self._tell(self)


class WsgiLine:
    """The line in front of the threads. All on the event loop, but the threads themselves."""

    def __init__(self, app: WsgiApp, dispatcher: Dispatcher, limits: Limits) -> None:
        self._app = app
        self._dispatcher = dispatcher
        self._limits = limits
        #: Called in a thread that pauses, by the lane's wish.
        self.pauses: Callable[[], object] = lambda: None
        self._threads = Threads(limits.wsgi_threads, name="wsgi", pauses=lambda: self.pauses())
        self.inside = 0
        self.kept_seconds = 0.0

    def leaving(self) -> Leaving:
        """Return what tells a thread of this line to wait no longer."""
        return Leaving(self._threads.waiting)

    def begin(self, environ: Environ, leaving: Leaving, tell: Callable[[Turn], object]) -> Turn:
        """Give a request its turn once a thread is free; `tell` is called there when it is over, and `ended` must follow.

        Raise RuntimeError where no thread can be made, and there is none.
        """
        turn = Turn(self._app, environ, leaving, tell)
        self._threads.submit(turn)
        self.inside += 1
        return turn

    def next_bytes(self) -> int:
        """Return how large the body is of the request whose turn is next, 0 if there is none. From any thread."""
        turn = self._threads.next_work()
        return turn.size_bytes if isinstance(turn, Turn) else 0

    def at_once(self, environ: Environ, computed: Computed) -> Reply:
        """Return what the application says of an answer that is there, in this very thread: it has nothing to wait for."""
        environ[AT_ONCE] = computed
        reply = call(self._app, environ)
        if environ.get(AT_ONCE) is computed:
            computed.forget()  # the application has answered by itself
        return reply

    def ended(self, turn: Turn) -> None:
        """Count a request out."""
        self.inside -= 1
        self.kept_seconds += _WEIGHT * (turn.kept_seconds - self.kept_seconds)

    def overload(self, request: HttpRequest) -> Overloaded | None:
        """Return why a request may not wait for a thread: the line is full, or longer than its time. None: it may."""
        line = self.inside + 1 - self._limits.wsgi_threads
        if line <= 0:
            return None
        wait = line * self.kept_seconds / self._limits.wsgi_threads
        if line > self._limits.wsgi_waiting or wait >= self._dispatcher.patience_seconds(request):
            return Overloaded("too many requests wait for a thread", retry_after_seconds=retry_after(wait))
        return None
