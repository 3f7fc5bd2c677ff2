"""The Engine protocol: all that front ends and protocols know of inference."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from models.content import Content
from models.tensors import Signature, Tensors
from serving.engine.answer import Answer
from serving.engine.statistics import ModelStatistics
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse


class State(StrEnum):
    """The states of a version, as the protocol's repository index names them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a client may know of one served version. `versions` are all that are served, oldest first."""

    name: str
    version: int
    versions: tuple[int, ...]
    platform: str
    digest: str
    signature: Signature
    content: Content | None
    timeout_seconds: float
    #: One real row of inputs, for documentation; empty where the version has none, or a large one.
    example: Tensors
    #: Whether a manifest vouches for it, why its rows share an execution, why it is this format (see servable.py).
    verified: bool = True
    batching: str = "manifest"
    chosen: str = "preferred"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One line of the repository index; `version` is None for a model that has none.

    `reason` says why it is not ready, or what to know of it when it is; `verified` whether a manifest vouches for it, None
    while it is not open.
    """

    name: str
    version: int | None
    state: State
    reason: str
    verified: bool | None = None


class Management(Protocol):
    """Changes what is served, in all processes of the server. Thread-safe; nothing blocks."""

    def load(self, model: str) -> "Future[None]":
        """Serve the versions that the model's configuration wants, in place of those served, which stay if one fails.

        Raise ModelNotFound for a model that the repository does not have; the future fails with ModelNotReady.
        """
        ...

    def unload(self, model: str) -> "Future[None]":
        """Finish a model's accepted requests and free it."""
        ...


class Engine(Protocol):
    """Runs inference somewhere. Thread-safe; only `close` blocks.

    Where a model is named that is not served, methods raise ModelNotFound, and ModelNotReady if it is known.
    """

    def lend(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Let the thread that calls this compute what is cheap of the requests it submits, instead of handing it over.

        `soon` is given a function to be called by this thread: before it waits for anything else, or at once. An engine
        that computes elsewhere has nothing to be helped with.
        """
        ...

    def cheap_rows(self, model: str, version: int) -> int:
        """Return how many rows the thread that calls this may compute itself with `run_now`: 0 if it should not."""
        ...

    def run_now(self, model: str, version: int, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute requests in the thread that calls this, as one batch; return their answers, with every output.

        None: they are to be submitted, each on its own, as somebody else waits or computes, or one of them is at fault. Of
        more than `cheap_rows` together it may take long.
        """
        ...

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Accept a request; raise what can be known now, the answer carries what can only be known later.

        Cancelling the answer gives the request up; it works until a session has begun with it.
        """
        ...

    def metadata(self, model: str, version: int | None = None) -> ModelMetadata:
        """Return what is known of a version; the newest served for None."""
        ...

    def config(self, model: str, version: int | None = None) -> ModelConfig:
        """Return how a version is served."""
        ...

    def statistics(self, model: str | None = None, version: int | None = None) -> list[ModelStatistics]:
        """Return what a version, or for None every served one, has done since it was opened."""
        ...

    def index(self) -> list[ModelStatus]:
        """Return every model and version of the repository with its state, over all processes of the server."""
        ...

    def knows(self, model: str) -> bool:
        """Tell whether this is a model of the repository, whatever its state."""
        ...

    def ready(self, model: str | None = None, version: int | None = None) -> bool:
        """Tell whether a model can answer; for None, whether this server should be sent requests."""
        ...

    def was_complete(self) -> bool:
        """Tell whether every version wanted of every model has been served by this server at the same time, ever."""
        ...

    def alive(self) -> bool:
        """Tell whether every instance makes progress. Where one does not, only a new process helps."""
        ...

    def drain(self) -> None:
        """Stop being ready, and go on answering: whoever balances load sends nothing more."""
        ...

    def close(self, *, drain_seconds: float) -> None:
        """Refuse new requests, finish accepted ones within the time, free sessions."""
        ...
