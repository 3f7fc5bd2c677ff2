"""A request between two moments of its way: its answer is being computed, or has been and was not told yet.

Each is ended once, by the front end that was handed it.
"""

import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from serving.errors import Cancelled, DeadlineExceeded, ModelNotReady
from serving.protocols.route import HttpRequest, Pending, Reply, Route, Told

if TYPE_CHECKING:
    from serving.protocols.dispatch import Dispatcher


class Computed:
    """A request that was computed and not told yet. The front end ends it with one of the two methods."""

    __slots__ = ("_dispatcher", "_request", "_route", "_told")

    def __init__(self, dispatcher: "Dispatcher", route: Route, request: HttpRequest, told: Told) -> None:
        self._dispatcher = dispatcher
        self._route = route
        self._request = request
        self._told = told

    def reply(self) -> Reply:
        """Return the answer."""
        (reply,) = self._dispatcher.told(self._route, [self._request], [self._told])
        return reply if isinstance(reply, Reply) else reply.interrupted()  # which never waits, as it was computed

    def forget(self) -> None:
        """Tell nobody: the request was answered in another way, and is not counted."""
        self._dispatcher.leave(self._request)
        self._dispatcher.metrics.begin(-1)


def not_finished() -> ModelNotReady:
    """Return what a request is told that has no answer yet when the server waits no longer."""
    return ModelNotReady("the server stops, and could not finish the request before", retry_after_seconds=1)


class Waiting:
    """A request whose answer is being computed. The front end ends it with exactly one of the four methods."""

    __slots__ = ("_dispatcher", "_pending", "_request", "_route", "deadline", "future")

    def __init__(self, dispatcher: "Dispatcher", route: Route, request: HttpRequest, pending: Pending) -> None:
        self.future = pending.future
        self.deadline = pending.deadline
        self._dispatcher = dispatcher
        self._route = route
        self._request = request
        self._pending = pending

    def reply(self) -> Reply:
        """Return the answer. The future must be done."""
        try:
            response = self.future.result(timeout=0)
            encoding = time.monotonic()
            reply = self._pending.encode(response)
        except CancelledError:
            return self._end(Cancelled("the request was cancelled"))
        except Exception as error:  # noqa: BLE001 - whatever happened, the client is owed an answer
            return self._end(error)
        return self._dispatcher.answered(self._route, self._request, reply, response, encoding)

    def expired(self) -> Reply:
        """Give the request up because its deadline has passed, and return what to say."""
        self.future.cancel()
        return self._end(DeadlineExceeded("the request was not answered by its deadline"))

    def interrupted(self) -> Reply:
        """Give the request up because the server stops, and return what to say."""
        self.future.cancel()
        return self._end(not_finished())

    def abandoned(self) -> None:
        """Give the request up because the client has left."""
        self.future.cancel()
        self._end(Cancelled("the client left"))

    def _end(self, error: BaseException) -> Reply:
        return self._dispatcher.failed(self._route, self._request, error)
