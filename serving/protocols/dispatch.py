"""The one dispatch that every front end's requests go through.

What matters to every request (access, routing, errors, counting, the headers of every answer) happens here and in no
framework's middleware.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from serving.access import Access, Admission
from serving.engine.base import Engine
from serving.errors import InternalError, ServingError
from serving.limits import Limits
from serving.metrics import Metrics
from serving.protocols.compression import Inflater
from serving.protocols.ending import Ended, Observer, headers
from serving.protocols.request_id import RequestIds
from serving.protocols.route import Answered, HttpRequest, Paths, Pending, Reply, Route, Told, error_reply, version_of
from serving.protocols.waiting import Computed, Waiting

log = logging.getLogger(__name__)


class Dispatcher:
    """Routes requests to handlers, and turns every way in which a request can end into one Reply."""

    def __init__(
        self,
        routes: Iterable[Route],
        engine: Engine,
        metrics: Metrics,
        limits: Limits,
        *,
        access: Access | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        """`access` None: everybody may do everything."""
        self._access = access or Access()
        self._inflater = Inflater(each=limits.inflated_bytes, together=limits.bodies_bytes)
        self._engine = engine
        self.metrics = metrics
        self._observers = tuple(observers)
        self._ids = RequestIds()
        self._paths = Paths(routes)

    def handle(self, request: HttpRequest) -> "Reply | Waiting":
        """Answer a request, or return what its answer has to be waited for. Never raises, never waits."""
        route: Route | None = None
        try:
            route, parameters = self._paths.match(request.method, request.path)
            if route.inference:
                self.metrics.begin()
            request.parameters, request.admission = parameters, self._admit(route, request)
            encoding = request.headers.get("content-encoding")
            if encoding is not None:
                if route.inference:
                    # Nothing is inflated for a model that is not there to be asked.
                    self._engine.metadata(parameters["model"], version_of(parameters))
                request.body, request.inflated_bytes = self._inflater.inflate(request.body, encoding)
            answer = route.handler(request)
        except Exception as error:  # noqa: BLE001 - whatever happened, the client is owed an answer
            return self.failed(route, request, error)
        if isinstance(answer, Pending):
            return Waiting(self, route, request, answer)
        self.leave(request)
        if route.inference:
            self.metrics.end(*self._meant(request), None, time.monotonic() - request.received)
        return self._end(route, request, answer, request_id=self._ids.of(request.headers))

    def handle_several(self, requests: Sequence[HttpRequest]) -> "list[Reply | Waiting]":
        """Answer the first of several requests for the same path, at least one: as `handle` does, and mostly at once.

        What has come together is computed together where the route knows how; the rest is to be given here again.
        """
        route, admitted, found = self._computed(requests)
        if route is None or not found:
            # Nothing is cheap now; all of them take the usual way, and those behind them too.
            return [self.handle(request) for request in requests]
        return self.told(route, admitted, found)

    def compute(self, requests: Sequence[HttpRequest]) -> "list[Computed | None]":
        """Compute the first of several requests for the same path, if that is cheap, for whoever tells each by itself.

        None: that one is to be handled alone. An empty list: all of them are.
        """
        route, admitted, found = self._computed(requests)
        if route is None:
            return []
        computed: list[Computed | None] = []
        for request, told in zip(admitted, found, strict=False):
            if told is None:
                self.leave(request)
            computed.append(None if told is None else Computed(self, route, request, told))
        return computed

    def _computed(self, requests: Sequence[HttpRequest]) -> tuple[Route | None, Sequence[HttpRequest], Sequence[Told]]:
        """Compute the first of several requests, if that is cheap: return their route, those let in, and what each is told.

        Nothing is counted yet of those that are told nothing.
        """
        first = requests[0]
        try:
            route, parameters = self._paths.match(first.method, first.path)
        except ServingError:
            return None, (), ()
        if route.several is None:
            return None, (), ()
        admitted: list[HttpRequest] = []
        found: Sequence[Told] = ()
        try:
            found = route.several(self._let_in(route, parameters, requests, admitted))
        except (ServingError, StopIteration):  # it is said to each, by the usual way
            pass
        except Exception:
            log.exception("event=internal_error path=%r", first.path)
        if unanswered := len(admitted) - sum(one is not None for one in found):
            self.metrics.begin(-unanswered)
        for request in admitted[len(found) :]:
            self.leave(request)
        return route, admitted, found

    def _let_in(
        self, route: Route, parameters: Mapping[str, str], requests: Sequence[HttpRequest], admitted: list[HttpRequest]
    ) -> Iterator[HttpRequest]:
        """Yield requests that may pass, noted and counted, until one may not: as many as are asked for."""
        for request in requests:
            if "content-encoding" in request.headers:
                return
            try:
                request.parameters, request.admission = parameters, self._admit(route, request)
            except ServingError:
                return
            self.metrics.begin()
            admitted.append(request)
            yield request

    def told(self, route: Route, requests: Sequence[HttpRequest], found: Sequence[Told]) -> "list[Reply | Waiting]":
        """Return the replies to requests that were answered together, and count them; one without an answer is handled."""
        answers: list[Reply | Waiting] = []
        seconds: list[float] = []
        for request, one in zip(requests, found, strict=False):
            self.leave(request)
            if not isinstance(one, Answered):
                answers.append(self.handle(request) if one is None else self.failed(route, request, one))
                continue
            reply, response, received = one.reply, one.response, request.received
            request_id = self._ids.of(request.headers)
            ended = time.monotonic()
            seconds.append(ended - received)
            reply.headers += headers(response, request_id=request_id, received=received, encoding=one.encoding, ended=ended)
            if self._observers:
                labels = response.model, str(response.version)
                record = Ended.of(request, reply, route, request_id, None, labels, response, one.encoding, ended)
                self._tell(record, request)
            answers.append(reply)
        if seconds:
            self.metrics.answered(response.model, response.version, seconds)
        return answers

    def turned_away(self, request: HttpRequest) -> Reply | None:
        """Return the reply for a request that may not pass, judged by its head alone; None where its body may come.

        So nobody without a key makes the server read a body. `handle` judges again: a front end need not ask this.
        """
        if self._access.open:
            return None
        try:
            route, _ = self._paths.match(request.method, request.path)
        except ServingError:
            return None  # it is answered like any other, once it is whole
        try:
            self._access.check(route.scopes, request.headers, on_management=request.on_management)
        except ServingError as error:
            if route.inference:
                self.metrics.begin()
            return self.failed(route, request, error)
        return None

    def refuse(self, request: HttpRequest, error: ServingError) -> Reply:
        """Answer a request that a front end could not even read to its end; it counts like any other."""
        try:
            route, parameters = self._paths.match(request.method, request.path)
        except ServingError:
            return self.failed(None, request, error)
        if route.inference:
            self.metrics.begin()
        try:
            request.parameters, request.admission = parameters, self._admit(route, request)
        except ServingError as refused:
            return self.failed(route, request, refused)
        return self.failed(route, request, error)

    def infers(self, head: HttpRequest) -> bool:
        """Tell whether a request is for a model, and may come, as far as its head tells; it is not counted yet."""
        try:
            route, _ = self._paths.match(head.method, head.path)
            if route.inference and not self._access.open:
                self._access.check(route.scopes, head.headers, on_management=head.on_management)
        except ServingError:
            return False
        return route.inference

    def lend(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Let the thread that calls this compute what is cheap of the requests it brings (see Engine)."""
        self._engine.lend(soon)

    def waits(self, request: HttpRequest) -> bool:
        """Tell whether a request's answer may have to be waited for; one that no route takes has its answer at once."""
        try:
            route, _ = self._paths.match(request.method, request.path)
        except ServingError:
            return False
        return route.inference or route.waits

    def patience_seconds(self, request: HttpRequest) -> float:
        """Return how long a request may take, as far as that is known without its body; infinite where nothing is."""
        try:
            route, parameters = self._paths.match(request.method, request.path)
            return self._engine.metadata(parameters["model"]).timeout_seconds if route.inference else math.inf
        except ServingError:
            return math.inf

    def _admit(self, route: Route, request: HttpRequest) -> Admission:
        return self._access.admit(route.scopes, request.headers, on_management=request.on_management)

    def failed(self, route: Route | None, request: HttpRequest, error: BaseException) -> Reply:
        """Return the reply for an error, and count it where it ended a request for inference."""
        request_id = self._ids.of(request.headers)
        if not isinstance(error, ServingError):
            log.error("event=internal_error request_id=%s path=%r", request_id, request.path, exc_info=error)
            error = InternalError("an internal error; the server's log has its cause")
        labels = ("", "")
        if route is not None:
            self.leave(request)
            if route.inference:
                model, version = self._meant(request)
                self.metrics.end(model, version, error, time.monotonic() - request.received)
                labels = model, "" if version is None else str(version)
        return self._end(route, request, error_reply(error), request_id=request_id, error=error, labels=labels)

    def leave(self, request: HttpRequest) -> None:
        """Let others have the place of a request that has ended, and the room of its body."""
        if request.inflated_bytes:
            self._inflater.let_go(request.inflated_bytes)
        if request.admission is not None:
            request.admission.end()

    def _meant(self, request: HttpRequest) -> tuple[str, int | None]:
        """Return the model of the repository that a request meant, empty if none, and its version, None if not served."""
        if request.admission is None:
            return "", None  # who was not let in learns nothing of the models, and makes no series of theirs
        parameters = request.parameters
        model = parameters["model"]
        try:
            return model, self._engine.metadata(model, version_of(parameters)).version
        except ServingError:
            return (model if self._engine.knows(model) else ""), None

    def answered(self, route: Route, request: HttpRequest, reply: Reply, response: Any, encoding: float) -> Reply:
        """Return the reply of a request that was waited for, and count it where it was one for inference."""
        self.leave(request)
        request_id = self._ids.of(request.headers)
        if not route.inference:
            return self._end(route, request, reply, request_id=request_id)
        ended = time.monotonic()
        received = request.received
        self.metrics.end(response.model, response.version, None, ended - received)
        reply.headers += headers(response, request_id=request_id, received=received, encoding=encoding, ended=ended)
        if self._observers:
            labels = response.model, str(response.version)
            self._tell(Ended.of(request, reply, route, request_id, None, labels, response, encoding, ended), request)
        return reply

    def _end(
        self,
        route: Route | None,
        request: HttpRequest,
        reply: Reply,
        *,
        request_id: str,
        error: ServingError | None = None,
        labels: tuple[str, str] = ("", ""),
    ) -> Reply:
        """Return a reply with the headers that every answer has, and tell the observers, if there are any."""
        ended = time.monotonic()
        reply.headers += headers(None, request_id=request_id, received=request.received, encoding=0.0, ended=ended)
        if self._observers:
            self._tell(Ended.of(request, reply, route, request_id, error, labels, None, 0.0, ended), request)
        return reply

    def _tell(self, record: Ended, request: HttpRequest) -> None:
        if request.admission is None:
            record.client = self._access.client(request.headers)  # its key was known, and did not open this
        for observer in self._observers:
            observer.finished(record)
