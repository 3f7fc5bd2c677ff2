"""A version as the table has it: open, ready to answer, and ended by `close`; computed in this process or by others."""

from collections.abc import Sequence
from typing import Protocol

from models.tensors import Tensors
from serving.engine.answer import Answer
from serving.engine.base import ModelMetadata
from serving.engine.instance import Identity
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse


class Version(Protocol):
    """One version that is served. Thread-safe; only `close` blocks."""

    #: Why it is not ready although it is open: a batch hangs. Empty if none does.
    hangs: str

    @property
    def identity(self) -> Identity:
        """What answers say of it."""
        ...

    @property
    def config(self) -> ModelConfig:
        """How it is served."""
        ...

    @property
    def metadata(self) -> ModelMetadata:
        """What clients may know of it."""
        ...

    @property
    def format(self) -> str:
        """The format of the artifact that is open."""
        ...

    @property
    def remark(self) -> str:
        """What to know of it although it is ready."""
        ...

    @property
    def opened_from(self) -> str:
        """What answers depend on: the files, and the configuration. Processes in which it is equal answer alike."""
        ...

    @property
    def lost(self) -> bool:
        """Whether a device of it has failed for good."""
        ...

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Check a request on its own and let it wait; raise SignatureError, InvalidInput, Overloaded, ModelNotReady."""
        ...

    def cheap_rows(self) -> int:
        """Return how many rows this thread may compute itself with `run_now`."""
        ...

    def run_now(self, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute requests in this thread, as one batch; None: they are to be submitted."""
        ...

    def introduce(self) -> None:
        """Tell the metrics what is served from now on."""
        ...

    def runs_for(self, now: float) -> float:
        """Return for how many seconds the batch that has run longest does so, 0 if none runs."""
        ...

    def abandon(self) -> None:
        """Let every request that is accepted end with ModelNotReady."""
        ...

    def close(self, *, drain_seconds: float) -> bool:
        """Refuse new requests, finish accepted ones within the time; tell whether all was finished."""
        ...
