"""What the edge and a replica give each other across a cluster: frames of messages.py, several in one parcel of bytes.

    edge → replica     HELD (which version) · INFER, any number of them
    replica → edge     ANSWER or ERROR for each of them · COUNTED (the batches that were run meanwhile)
    after an opening   SERVED · OPENED, or an ERROR

One call of a cluster costs milliseconds and one frame microseconds, so what waits for a version goes together. HELD says
all that a replica needs to open the version if it does not have it. What does not fit is a fault of ours (WireError).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property

from serving import wire
from serving.engine import messages
from serving.engine.base import ModelMetadata
from serving.engine.messages import Kind
from serving.engine.mirror import Served
from serving.errors import ServingError
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse
from serving.wire import Buffer, Frame, WireError

# Behind the kinds of messages.py, whose frames may be in the same parcel.
_HELD, _COUNTED, _OPENED = 32, 33, 34

#: One batch: its rows, how long each of its requests had waited, and the seconds of its stages join, run and split.
Batch = tuple[int, list[float], float, float, float]


@dataclasses.dataclass(frozen=True)
class Held:
    """Which version is meant, to the byte and to the setting, and how it is opened; what it is depends on nothing else."""

    model: str
    version: int
    digest: str
    config: ModelConfig
    opened_from: str

    @cached_property
    def key(self) -> str:
        """One word for it, by which replicas know it."""
        return f"{self.model}/{self.version}/{self.opened_from}"

    @cached_property
    def frame(self) -> bytes:
        """What goes in front of its requests."""
        head = [self.model, self.version, self.digest, dataclasses.asdict(self.config), self.opened_from]
        return b"".join(wire.frame(_HELD, 0, head))


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A version that a replica has opened, as the edge is told of it."""

    metadata: ModelMetadata
    config: ModelConfig
    format: str
    remark: str
    opened_from: str

    @property
    def held(self) -> Held:
        """How it is asked for from now on."""
        metadata = self.metadata
        return Held(metadata.name, metadata.version, metadata.digest, self.config, self.opened_from)


def requests_parcel(held: Held, frames: Iterable[Sequence[Buffer]]) -> bytes:
    """Return requests for a version, each a frame of `messages.request_frame`, as one parcel."""
    return b"".join([held.frame, *(buffer for frame in frames for buffer in frame)])


def requests_of(parcel: bytes, now: float) -> tuple[Held, dict[int, InferRequest]]:
    """Return the version of a parcel and its requests by their numbers; raise WireError."""
    held, *frames = _frames(parcel)
    return held_of(held), {number: messages.request_of(head, data, now) for _, number, head, data in frames}


def held_of(frame: Frame) -> Held:
    """Return the version of a frame; raise WireError."""
    try:
        kind, _, (model, version, digest, config, opened_from), _ = frame
        if kind != _HELD:
            raise ValueError(f"expected which version, found the kind {kind}")
        return Held(model, version, digest, messages.config_of(config), opened_from)
    except (ValueError, TypeError, KeyError) as error:
        raise WireError(f"a version: {error}") from error


def held_in(parcel: bytes) -> list[Held]:
    """Return versions that were put together as their frames; raise WireError."""
    return [held_of(frame) for frame in _frames(parcel)]


def answers_parcel(answers: Iterable[Sequence[Buffer]], batches: Sequence[Batch]) -> bytes:
    """Return answers and errors, each a frame of messages.py, and the batches that were run, as one parcel."""
    counted = wire.frame(_COUNTED, 0, batches)
    return b"".join([*(buffer for frame in answers for buffer in frame), *counted])


def answers_of(parcel: bytes) -> tuple[dict[int, InferResponse | ServingError], list[Batch]]:
    """Return the answers and errors of a parcel by the numbers of their requests, and the batches; raise WireError."""
    ends: dict[int, InferResponse | ServingError] = {}
    batches: list[Batch] = []
    for kind, number, head, data in _frames(parcel):
        if kind == Kind.ANSWER:
            ends[number] = messages.answer_of(head, data, None)
        elif kind == Kind.ERROR:
            ends[number] = messages.error_of(head)
        else:
            batches += [(rows, queued, join, run, split) for rows, queued, join, run, split in head]
    return ends, batches


def opened_parcel(opened: Opened) -> bytes:
    """Return what the edge is told of a version that was opened."""
    metadata = opened.metadata
    served = messages.served_frame(0, metadata.name, {metadata.version: (metadata, opened.config)})
    return b"".join([*served, *wire.frame(_OPENED, 0, [opened.format, opened.remark, opened.opened_from])])


def opened_of(parcel: bytes) -> Opened:
    """Return the version that was opened; raise the error where it was not, or WireError."""
    first, *rest = _frames(parcel)
    if first[0] == Kind.ERROR:
        raise messages.error_of(first[2])
    _, versions = messages.served_of(first[2], first[3])
    (served,) = versions.values()
    return _opened(served, rest[0])


def error_parcel(error: ServingError) -> bytes:
    """Return why there is nothing else to be told."""
    return b"".join(messages.error_frame(0, error))


def _opened(served: Served, frame: Frame) -> Opened:
    format, remark, opened_from = frame[2]
    return Opened(*served, format, remark, opened_from)


def _frames(parcel: bytes) -> list[Frame]:
    frames = wire.Reader().take(parcel)
    if not frames:
        raise WireError("a parcel: expected frames, found none")
    return frames
