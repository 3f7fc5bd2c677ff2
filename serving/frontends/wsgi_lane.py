"""The lane that brings requests for models to a WSGI application: from the edge to a thread, and back, without ASGI.

Where the model is cheap, requests that have come together are computed together, and the application is called on the event
loop itself, for each with its answer at hand. All others are brought to threads; what follows is about those.

Whenever one answer is brought back the thread and the event loop hand the interpreter to each other, twice. So a thread
brings all its answers at once: when it has no more to do, or after a millisecond.
"""

import asyncio
import time
from collections import deque

from serving.errors import Cancelled, ServerBusy, ServingError
from serving.frontends.arrivals import Arrivals
from serving.frontends.errand import Errand
from serving.frontends.lane import first_of
from serving.frontends.wsgi import Leaving, environ_of
from serving.frontends.wsgi_line import Turn, WsgiLine
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, error_reply
from serving.protocols.waiting import not_finished

#: How long threads that were told to stop waiting may take to say so: each has an error to encode.
_INTERRUPTED_SECONDS = 1.0
_LOOK_SECONDS = 0.005

#: How many requests are answered before the loop looks at what else there is: Flask takes some 60 µs for each.
_AT_ONCE = 16
#: A body up to this size is read on the loop; a larger one, which takes a millisecond and more as JSON, in a thread.
_SMALL_BYTES = 512 * 1024
#: For how long a thread may keep an answer while it works on others: some ten requests of Flask's.
_TOGETHER_SECONDS = 0.001


class WsgiLane:
    """Hands requests to the line for threads. On the event loop."""

    def __init__(
        self, line: WsgiLine, dispatcher: Dispatcher, limits: Limits, arrivals: Arrivals, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._line = line
        self._dispatcher = dispatcher
        self._limits = limits
        self._arrivals = arrivals
        self._calls: set[_Call] = set()
        # What threads have answered and not brought yet, and when the first of it was.
        self._over: deque[tuple[_Call, Turn]] = deque()
        self._since = 0.0
        #: Those that became whole since the loop last looked, by their path.
        self._gathered: dict[str, deque[Errand]] = {}
        self._loop = loop
        line.pauses = self._bring
        dispatcher.lend(arrivals.lend)

    def takes(self, head: HttpRequest, *, length: int) -> bool:
        """Tell whether this is a request for a model that may come: with a key, and a body below its limit."""
        return length <= self._limits.body_bytes and self._dispatcher.infers(head)

    def begin(self, errand: Errand) -> None:
        """Have the application answer the request, once the loop has read what else has arrived by now."""
        if errand.request is None:
            return
        if len(errand.request.body) > _SMALL_BYTES:
            self._give_to_thread(errand)
            return
        if not self._gathered:
            self._loop.call_soon(self._go)
        self._gathered.setdefault(errand.request.path, deque()).append(errand)

    def _go(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for path, errands in gathered.items():
            together = first_of(errands, _AT_ONCE)
            computed = self._dispatcher.compute([request for _, request in together]) if together else []
            for (errand, request), one in zip(together, computed, strict=False):
                if one is None:
                    self._give_to_thread(errand)
                else:
                    errand.answer(self._line.at_once(environ_of(errand.environ(), request, Leaving()), one))
            errands.extendleft(errand for errand, _ in reversed(together[len(computed) :]))
            if not computed:
                for errand in errands:
                    self._give_to_thread(errand)
            elif errands:
                # In between the loop looks at what else has happened.
                if not self._gathered:
                    self._loop.call_soon(self._go)
                errands.extend(self._gathered.get(path, ()))
                self._gathered[path] = errands

    def _give_to_thread(self, errand: Errand) -> None:
        request = errand.request
        if request is None:
            return
        if (overload := self._line.overload(request)) is not None:
            errand.answer(self._dispatcher.refuse(request, overload))
            return
        leaving = self._line.leaving()
        call = errand.waiter = _Call(errand, leaving)
        self._calls.add(call)
        environ = environ_of(errand.environ(), request, leaving)
        try:
            self._line.begin(environ, leaving, lambda turn: self._tell(call, turn))
        except RuntimeError:  # no thread can be made, and there is none
            self._calls.discard(call)
            busy = ServerBusy("the server has no thread for the request", retry_after_seconds=1)
            errand.answer(self._dispatcher.refuse(request, busy))

    def broken_off(self, head: HttpRequest, error: ServingError | None) -> None:
        """Count a request that never became whole."""
        self._dispatcher.refuse(head, error or Cancelled("the client left"))

    async def interrupt(self) -> None:
        """Tell everybody who still waits that the server stops: by the threads, which say so themselves, if they can."""
        for call in list(self._calls):
            call.interrupt()
        until = time.monotonic() + _INTERRUPTED_SECONDS
        while self._calls and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
        for call in list(self._calls):
            call.errand.answer(error_reply(not_finished()))

    def _tell(self, call: "_Call", turn: Turn) -> None:
        """Keep an answer for a moment. Run in the thread that has it."""
        now = time.monotonic()
        if not self._over:
            self._since = now
        self._over.append((call, turn))
        if now - self._since > _TOGETHER_SECONDS or self._line.next_bytes() > _SMALL_BYTES:
            self._bring()

    def _bring(self) -> None:
        """Bring what was answered to the event loop. From any thread."""
        if self._over:
            self._arrivals.arrive(self._answer)

    def _answer(self) -> None:
        """Answer with what threads have said."""
        while self._over:
            call, turn = self._over.popleft()
            self._line.ended(turn)
            self._calls.discard(call)
            if turn.reply is not None and not call.leaving.left:
                call.errand.answer(turn.reply)


class _Call:
    """An errand that a thread is on, or will be."""

    __slots__ = ("errand", "leaving")

    def __init__(self, errand: Errand, leaving: Leaving) -> None:
        self.errand = errand
        self.leaving = leaving

    def abandon(self) -> None:
        """The client has left."""
        self.leaving.leave()

    def interrupt(self) -> None:
        """The server stops."""
        self.errand.keep_alive = False
        self.leaving.interrupt()
