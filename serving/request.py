"""What flows through the engine: a request for inference, its answer, and how long each stage took.

Nobody changes these once they are made. They are not frozen all the same: a frozen object takes four times as long to make,
half a microsecond for each of them and several of them for every request.
"""

import dataclasses

from models.tensors import Tensors


@dataclasses.dataclass(slots=True)
class InferRequest:
    """A wish for inference, decoded but not yet checked against a signature.

    `version` None means the newest one served; `outputs` None means all. `deadline` is a time of `time.monotonic`, None
    for the model's own timeout. `priority` 1 goes first, then 2, …; 0 is the model's default. The arrays in `inputs` may
    be read-only views on the bytes that arrived.
    """

    model: str
    version: int | None
    inputs: Tensors
    outputs: tuple[str, ...] | None = None
    id: str | None = None
    deadline: float | None = None
    priority: int = 0


@dataclasses.dataclass(slots=True)
class Timings:
    """Seconds a request spent in each stage inside the engine: waiting, joined to a batch, running, split from it.

    The stages follow each other without a gap from `queued` on, a time of `time.monotonic`.
    """

    queue: float
    join: float
    run: float
    split: float
    queued: float = 0.0


@dataclasses.dataclass(slots=True)
class InferResponse:
    """An answer. `outputs` holds the outputs asked for, in that order; `digest` names the version's very weights.

    `verified` says whether a manifest vouches for them.
    """

    model: str
    version: int
    digest: str
    outputs: Tensors
    id: str | None
    timings: Timings
    rows: int = 1
    verified: bool = True
