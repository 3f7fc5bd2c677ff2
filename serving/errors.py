"""Every error a request can end with, and its status on HTTP and gRPC.

The classes name their statuses themselves, so a front end needs one handler and no table. On the wire an error is always
`{"error": …, "code": …}`, with `field`, `expected` and `found` where one tensor or field is to blame.
"""

import re
from typing import ClassVar, Self


class ServingError(Exception):
    """A request ended without an answer. The message is meant for the client: nothing internal may be in it."""

    http_status: ClassVar[int]
    #: The name of the gRPC status code; None where only the HTTP edge can raise the error.
    grpc_status: ClassVar[str | None]
    #: The class's name in snake case: `code` on the wire, `reason` in the metrics.
    code: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.expected = expected
        self.found = found
        self.retry_after_seconds = retry_after_seconds

    @classmethod
    def at(cls, field: str, *, expected: str, found: str) -> Self:
        """Return the error for one field that is not as expected."""
        return cls(f"{field}: expected {expected}, found {found}", field=field, expected=expected, found=found)

    @property
    def outcome(self) -> str:
        """The metrics' word for how the request ended: it was `refused`, or it `failed` here."""
        return "refused" if self.http_status < 500 else "failed"

    def to_json(self) -> dict[str, str]:
        """Return the body that tells a client what went wrong."""
        details = {"field": self.field, "expected": self.expected, "found": self.found}
        return {"error": str(self), "code": self.code, **{key: text for key, text in details.items() if text is not None}}


class MalformedRequest(ServingError):
    """The bytes are not the protocol."""

    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class InvalidInput(ServingError):
    """The tensors or the content do not fit the model's signature."""

    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class Unsupported(ServingError):
    """A known feature of the protocol that this server lacks."""

    http_status = 400
    grpc_status = "UNIMPLEMENTED"


class Unauthorized(ServingError):
    """No key was presented, or none that this server knows."""

    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class Forbidden(ServingError):
    """The key lacks the scope, or the management API is off, or not to be had in this way."""

    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class NotFound(ServingError):
    """No such route."""

    http_status = 404
    grpc_status = None


class ModelNotFound(ServingError):
    """No such model or version."""

    http_status = 404
    grpc_status = "NOT_FOUND"


class MethodNotAllowed(ServingError):
    """The route exists, for other methods."""

    http_status = 405
    grpc_status = None


class RequestTimeout(ServingError):
    """The client took too long to send its request."""

    http_status = 408
    grpc_status = None


class BodyTooLarge(ServingError):
    """The body exceeds the limit."""

    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class UriTooLong(ServingError):
    """The URL exceeds the limit."""

    http_status = 414
    grpc_status = None


class UnsupportedEncoding(ServingError):
    """The body is compressed in a way this server does not read."""

    http_status = 415
    grpc_status = None


class Overloaded(ServingError):
    """The queue is full, or too long for the request's time: slow down, and come back after `retry_after_seconds`."""

    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"


class HeadersTooLarge(ServingError):
    """The headers are too many, or too large together."""

    http_status = 431
    grpc_status = None


class InferenceFailed(ServingError):
    """The backend raised, or gave what the signature does not allow; the cause is logged, not sent."""

    http_status = 500
    grpc_status = "INTERNAL"


class InternalError(ServingError):
    """A fault of this server outside the backend; the cause is logged, not sent."""

    http_status = 500
    grpc_status = "INTERNAL"


class ModelNotReady(ServingError):
    """The model is loading, draining, or failed to load: go elsewhere."""

    http_status = 503
    grpc_status = "UNAVAILABLE"


class ServerBusy(ServingError):
    """The process holds as many connections or request bodies as it may: go elsewhere, or come back."""

    http_status = 503
    grpc_status = "UNAVAILABLE"


class DeadlineExceeded(ServingError):
    """Not answered in time."""

    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class Cancelled(ServingError):
    """The client left. Counted, never written to the wire; 499 is what nginx logs for it."""

    http_status = 499
    grpc_status = "CANCELLED"

    @property
    def outcome(self) -> str:
        """A client that left was neither refused nor failed."""
        return "cancelled"


def all_errors() -> tuple[type[ServingError], ...]:
    """Return every class of error."""
    return tuple(ServingError.__subclasses__())
