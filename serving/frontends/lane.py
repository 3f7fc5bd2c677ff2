"""The lane that answers requests for models in front of FastAPI: from the edge to the routes, and back, on the event loop.

The routes, and all that matters to every request, are the same that the framework's endpoint serves (fastapi_app.py), which
gets everything else: other routes, and heads that say something unusual.
"""

import asyncio
from collections import deque

from serving.errors import Cancelled, ServingError
from serving.frontends.arrivals import Arrivals
from serving.frontends.errand import Errand
from serving.frontends.timeouts import Timeouts
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest
from serving.protocols.waiting import Waiting

#: As many as are looked at in one go: no batch that is computed here has more rows.
_TOGETHER = 64


def first_of(errands: "deque[Errand]", most: int) -> list[tuple[Errand, HttpRequest]]:
    """Take the first so many errands that are still there; those that have left were counted when they did."""
    taken: list[tuple[Errand, HttpRequest]] = []
    while errands and len(taken) < most:
        errand = errands.popleft()
        if errand.request is not None:
            taken.append((errand, errand.request))
    return taken


class DirectLane:
    """Hands requests to the dispatcher. Made on the event loop's thread, which then computes what is cheap."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._arrivals = Arrivals(loop)
        self._timeouts = Timeouts(loop)
        self._loop = loop
        #: Those that became whole since the loop last looked, by their path.
        self._gathered: dict[str, deque[Errand]] = {}
        dispatcher.lend(self._arrivals.lend)

    def takes(self, head: HttpRequest, *, length: int) -> bool:
        """Tell whether this is a request for a model that may come: with a key, and a body below its limit."""
        return length <= self._limits.body_bytes and self._dispatcher.infers(head)

    def begin(self, errand: Errand) -> None:
        """Have the request answered, together with all others for its path that the loop has read by then."""
        if errand.request is None:
            return
        if not self._gathered:
            self._loop.call_soon(self._answer)
        self._gathered.setdefault(errand.request.path, deque()).append(errand)

    def _answer(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for path, errands in gathered.items():
            together = first_of(errands, _TOGETHER)
            answers = self._dispatcher.handle_several([request for _, request in together]) if together else []
            for (errand, _), answer in zip(together, answers, strict=False):
                if isinstance(answer, Waiting):
                    _Wait(errand, answer, self._arrivals, self._timeouts)
                else:
                    errand.answer(answer)
            errands.extendleft(errand for errand, _ in reversed(together[len(answers) :]))
            if errands:
                # In between the loop looks at what else has happened.
                if not self._gathered:
                    self._loop.call_soon(self._answer)
                errands.extend(self._gathered.get(path, ()))
                self._gathered[path] = errands

    def broken_off(self, head: HttpRequest, error: ServingError | None) -> None:
        """Count a request that never became whole."""
        self._dispatcher.refuse(head, error or Cancelled("the client left"))

    async def interrupt(self) -> None:
        """Tell everybody who still waits that the server stops."""
        self._timeouts.interrupt()


class _Wait:
    """Waiting for one answer: it comes, or its time passes, or nobody is there any more to get it. Each ends it once."""

    __slots__ = ("_arrivals", "_errand", "_tick", "_timeouts", "_waiting")

    def __init__(self, errand: Errand, waiting: Waiting, arrivals: Arrivals, timeouts: Timeouts) -> None:
        self._errand = errand
        self._waiting: Waiting | None = waiting
        self._arrivals = arrivals
        self._timeouts = timeouts
        errand.waiter = self
        self._tick = timeouts.add(self, waiting.deadline)
        waiting.future.add_done_callback(self._done)

    def expire(self) -> None:
        """Its time has passed."""
        if (waiting := self._end()) is not None:
            self._errand.answer(waiting.expired())

    def interrupt(self) -> None:
        """The server stops."""
        if (waiting := self._end()) is not None:
            self._errand.keep_alive = False
            self._errand.answer(waiting.interrupted())

    def abandon(self) -> None:
        """The client has left."""
        if (waiting := self._end()) is not None:
            waiting.abandoned()

    def _done(self, _: object) -> None:
        """Run in whatever thread has the answer."""
        self._arrivals.arrive(self._answer)

    def _answer(self) -> None:
        if (waiting := self._end()) is not None:
            self._errand.answer(waiting.reply())

    def _end(self) -> Waiting | None:
        """Return what is waited for, the first time."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._timeouts.remove(self, self._tick)
            self._errand.waiter = None
        return waiting
