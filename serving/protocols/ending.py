"""How a request ended: the headers that every answer has, and the record that observers get.

An observer (an access log, a tracer) is given one record per request, at its end and in whatever thread that is. It
decides nothing and must not wait. Without observers no record is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from serving.errors import Cancelled, ServingError
from serving.protocols.request_id import HEADER
from serving.request import InferResponse

if TYPE_CHECKING:
    from serving.protocols.route import HttpRequest, Reply, Route

#: Routes that machines ask every few seconds; observers leave their successes out.
PROBES = frozenset({"/metrics", "/v2/health/live", "/v2/health/ready"})


@dataclass(slots=True)
class Ended:
    """One request that has ended. It does not hold the body. Times are monotonic.

    `method`, `path`, `headers` and `address` are the client's words, not to be believed and not to be shown as they are.
    """

    request_id: str
    method: str
    path: str
    headers: Mapping[str, str]
    #: The peer's address, and the name of the key it showed; None where that is not known.
    address: str | None
    client: str | None
    #: The pattern of the route; None where none was found.
    route: str | None
    status: int
    #: ok, refused, failed or cancelled, and the error's code: the metrics' words.
    outcome: str
    reason: str
    bytes_in: int
    bytes_out: int
    #: The repository's own names; empty where the request meant none of its models.
    model: str
    version: str
    #: A model's answer, None where there was none, and when encoding it began.
    response: InferResponse | None
    encoding: float
    received: float
    ended: float
    #: The trace this request belongs to, once an observer knows it.
    trace_id: str = ""

    @classmethod
    def of(
        cls,
        request: "HttpRequest",
        reply: "Reply",
        route: "Route | None",
        request_id: str,
        error: ServingError | None,
        labels: tuple[str, str],
        response: InferResponse | None,
        encoding: float,
        ended: float,
    ) -> Self:
        """Return the record of a request and its reply; `labels` are the model and version that it is counted under."""
        unsent = request.method == "HEAD" or isinstance(error, Cancelled)
        return cls(
            request_id=request_id,
            method=request.method,
            path=request.path,
            headers=request.headers,
            address=request.address,
            client=None if request.admission is None else request.admission.client,
            route=None if route is None else route.path,
            status=reply.status,
            outcome="ok" if error is None else error.outcome,
            reason="" if error is None else error.code,
            bytes_in=len(request.body),
            bytes_out=0 if unsent else len(reply.body),
            model=labels[0],
            version=labels[1],
            response=response,
            encoding=encoding,
            received=request.received,
            ended=ended,
        )


class Observer(Protocol):
    """Is told of every request that has ended. Called by the event loop or a worker's thread; must not wait or raise."""

    def finished(self, ended: Ended) -> None:
        """Take note of one request."""

    def close(self) -> None:
        """Write out what is held, within seconds. Nothing follows."""


def headers(
    response: InferResponse | None, *, request_id: str, received: float, encoding: float, ended: float
) -> tuple[tuple[str, str], ...]:
    """Return what every answer carries: its request's id and where the time went (in ms); of a model also its version.

    See https://www.w3.org/TR/server-timing/.
    """
    total = f"total;dur={(ended - received) * 1000:.3f}"
    if response is None:
        return ("server-timing", total), (HEADER, request_id)
    timings = response.timings
    stages = (
        f"decode;dur={(timings.queued - received) * 1000:.3f}, queue;dur={timings.queue * 1000:.3f}, "
        f"batch;dur={(timings.join + timings.split) * 1000:.3f}, compute;dur={timings.run * 1000:.3f}, "
        f"encode;dur={(ended - encoding) * 1000:.3f}, {total}"
    )
    unverified = "" if response.verified else " unverified"
    version = f"{response.model}/{response.version} sha256:{response.digest}{unverified}"
    return ("sameway-version", version), ("server-timing", stages), (HEADER, request_id)
