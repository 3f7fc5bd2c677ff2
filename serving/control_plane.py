"""The control plane of a server with several workers: loading and unloading, agreed by all of them or done by none.

Pure bookkeeping: it is told what has happened, and sends messages by the functions it is given. One operation at a time,
and none while a worker is still loading, so that each worker is in the same state as all others when one begins.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from models.repository import RepositoryError
from serving.engine.link import Message, error_from_json
from serving.engine.wanted import Unopened, Wanted
from serving.errors import ModelNotReady, ServingError
from serving.model_config import ConfigError

log = logging.getLogger(__name__)

#: A worker by its number: sends it a message.
Workers = Mapping[int, Callable[..., object]]


@dataclass(slots=True)
class Operation:
    """A load or an unload that somebody wants, or to serve certain versions of a model that is wanted.

    `answer` is called once, with the error if it came to nothing. `unopened` are versions that are wanted too.
    """

    what: str
    model: str
    answer: Callable[[ServingError | None], None]
    versions: tuple[int, ...] = ()
    unopened: tuple[int, ...] = ()
    #: prepare, then commit or discard; or unload.
    step: str = ""
    number: int = 0
    waits_for: set[int] = field(default_factory=set)
    error: ServingError | None = None
    #: What the first worker has prepared, and how: each version's identity (see ServedVersion).
    opened: Mapping[str, str] | None = None


class ControlPlane:
    """Knows which versions every worker is to serve, and brings all workers from one state to the next together."""

    def __init__(
        self, wanted: Mapping[str, tuple[int, ...] | None], versions_of: Callable[[str], tuple[int, ...]], workers: Workers
    ) -> None:
        #: What a worker that starts now has to load.
        self.wanted = dict(wanted)
        #: What it leaves out of what is wanted, as not every worker can open it.
        self.unopened: dict[str, tuple[int, ...]] = {}
        self._versions_of = versions_of
        #: Those that have loaded, kept by the supervisor.
        self._workers = workers
        self._waiting: deque[Operation] = deque()
        self._now: Operation | None = None
        self._numbers = itertools.count(1)
        self._loading = 0

    @property
    def may_be_missed(self) -> bool:
        """Whether a worker that started now, and loaded what is wanted now, could miss what the others then commit."""
        return self._now is not None and self._now.step == "prepare" and self._now.error is None

    @property
    def idle(self) -> bool:
        """Whether every worker has loaded, and none is told anything."""
        return self._now is None and not self._loading

    def successor(self, served: Collection[str]) -> tuple[Wanted, Unopened]:
        """Return what a worker that starts now has to load, and what is wanted and left out; `served` others serve."""
        if not served:
            return self.wanted, self.unopened
        # What failed when the first workers loaded it, or was not there, is not served by one worker alone either.
        lacking = {model: versions or () for model, versions in self.wanted.items() if not versions or model not in served}
        return {model: self.wanted[model] for model in self.wanted if model not in lacking}, {**self.unopened, **lacking}

    def awaited(self) -> frozenset[int]:
        """Return the workers whose answer an operation waits for."""
        return frozenset() if self._now is None else frozenset(self._now.waits_for)

    def ask(self, operation: Operation) -> None:
        """Do this once it is its turn."""
        self._waiting.append(operation)
        self._next()

    def follow_up(self, operation: Operation) -> None:
        """Do this before all that waits for its turn, which may undo it."""
        self._waiting.appendleft(operation)
        self._next()

    def began_loading(self) -> None:
        """A worker has started, and loads what was wanted at that moment."""
        self._loading += 1

    def ended_loading(self) -> None:
        """A worker that was loading has loaded, or has ended."""
        self._loading -= 1
        self._next()

    def done(self, worker: int, message: Message) -> None:
        """A worker has done what it was told."""
        if self._now is not None and message["id"] == self._now.number:
            error = error_from_json(message["error"])
            self._heard(worker, error or self._disagreement(self._now, message.get("opened")))

    def ended(self, worker: int) -> None:
        """A worker that had loaded has ended: what it was told it does not do any more, and its successor loads `wanted`."""
        if self._now is not None and worker in self._now.waits_for:
            reason = f"model {self._now.model!r} could not be loaded: a worker ended while it opened it"
            ended = ModelNotReady(reason, retry_after_seconds=1)
            if self._now.step == "prepare":  # what a worker could not open it has logged itself
                log.error("event=load_failed model=%s reason=%r", self._now.model, reason)
            self._heard(worker, ended if self._now.step == "prepare" else None)

    def _heard(self, worker: int, error: ServingError | None) -> None:
        now = self._now
        if now is None:
            return
        now.waits_for.discard(worker)
        now.error = now.error or error
        if now.waits_for:
            return
        if now.step == "prepare":
            if now.error is None:
                self._want(now)
            self._tell("commit" if now.error is None else "discard")
            return
        self._end(now)

    def _disagreement(self, now: Operation, opened: Mapping[str, str] | None) -> ServingError | None:
        """Return what is wrong if a worker has prepared other things than the first one: a file changed between the two."""
        if now.step != "prepare" or opened is None:
            return None
        now.opened = opened if now.opened is None else now.opened
        if opened == now.opened:
            return None
        reason = f"model {now.model!r} could not be loaded: its files changed while workers opened it"
        log.error("event=load_failed model=%s reason=%r", now.model, reason)
        return ModelNotReady(reason, retry_after_seconds=1)

    def _next(self) -> None:
        if self._now is not None or self._loading or not self._waiting:
            return
        self._now = now = self._waiting.popleft()
        if now.what == "unload":
            self.wanted.pop(now.model, None)
            self.unopened.pop(now.model, None)
            self._tell("unload", model=now.model)
            return
        if now.what == "serve":
            self._tell("prepare", model=now.model, versions=now.versions, unopened=now.unopened)
            return
        try:
            now.versions = self._versions_of(now.model)
        except Exception as error:  # whatever it is, one model's folder must not stop the server
            known = isinstance(error, RepositoryError | ConfigError)
            reason = str(error) if known else "an internal error; the server's log has its cause"
            log.error("event=wanted_unknown model=%s reason=%r", now.model, reason, exc_info=None if known else error)
            now.error = ModelNotReady(f"model {now.model!r} could not be loaded: {reason}")
            # Nobody was asked to prepare anything; the workers are those who count. An answer is not waited for.
            for send in list(self._workers.values()):
                send(do="count_failure", id=next(self._numbers), model=now.model)
            self._end(now)
            return
        self._tell("prepare", model=now.model, versions=now.versions, unopened=())

    def _tell(self, step: str, **facts: object) -> None:
        """Tell every worker the next step of the operation."""
        now = self._now
        if now is None:
            return
        now.step, now.number, now.waits_for = step, next(self._numbers), set(self._workers)
        for send in list(self._workers.values()):
            send(do=step, id=now.number, **facts)
        if not now.waits_for:  # nobody is there: whoever comes loads what is wanted
            if step == "prepare":
                self._want(now)
            self._end(now)

    def _want(self, now: Operation) -> None:
        """Let whoever starts from now on load what all have prepared."""
        self.wanted[now.model] = now.versions
        self.unopened.pop(now.model, None)
        if now.unopened:
            self.unopened[now.model] = now.unopened

    def _end(self, now: Operation) -> None:
        self._now = None
        now.answer(now.error)
        self._next()
