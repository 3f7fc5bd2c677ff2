"""A served version: opened, replayed, running, drained.

Opening replays the golden sample through every session. A version that does not reproduce its outputs on this machine,
with this runtime, never becomes ready. The replay is also the warm-up. A version without a golden sample is warmed up with
generated inputs.
"""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from models.tensors import Signature, SignatureError, Tensors, rows_of
from serving.backends.base import PREFERENCE, Backend, BackendError, PipelinedSession, Session, SteadySession, backend_for
from serving.engine.answer import Answer
from serving.engine.base import ModelMetadata
from serving.engine.batcher import Batcher
from serving.engine.entry import entry_of
from serving.engine.instance import Identity, Instance
from serving.engine.pipelined import PipelinedInstance
from serving.engine.replay import replay, replay_content
from serving.engine.servable import Servable
from serving.engine.warm_up import warm_up
from serving.errors import ModelNotReady
from serving.metrics import Metrics
from serving.model_config import ConfigError, ModelConfig
from serving.request import InferRequest, InferResponse

log = logging.getLogger(__name__)

#: A digit has 784 values; more than this is no example any more.
_EXAMPLE_VALUES = 4096

#: A batch that takes less is computed by the thread that brought its requests, if that lends itself. Handing it over takes
#: 50 to 100 µs of everybody's time; and for so long an event loop may do nothing else, twice as long as reading a body of
#: 1 MiB takes. With several instances, which compute at once in threads of their own, only what is hardly worth it.
_CHEAP_SECONDS, _CHEAP_SECONDS_OF_SEVERAL = 0.001, 0.0002

#: By a thread's identity: what has a function called by that thread, soon.
Lenders = Mapping[int, Callable[[Callable[[], None]], object]]


class ServedVersion:
    """One version, ready to answer. Built by `open`, ended by `close`."""

    def __init__(
        self,
        version: Servable,
        config: ModelConfig,
        *,
        backend: Backend,
        format: str,
        example: Tensors,
        sessions: list[Session],
        metrics: Metrics,
        lenders: Lenders | None = None,
    ) -> None:
        signature = version.signature
        self._lenders = {} if lenders is None else lenders
        self.config = config
        self.format = format
        #: Why it is not ready although it is open: a batch hangs. Empty if none does.
        self.hangs = ""
        self.remark = version.remark
        self.identity = Identity(version.model, version.version, version.digest, signature, version.verified)
        self.metadata = ModelMetadata(
            name=version.model,
            version=version.version,
            versions=(version.version,),
            platform=backend.platform,
            digest=version.digest,
            signature=signature,
            content=version.content,
            timeout_seconds=config.timeout_seconds,
            example=example,
            verified=version.verified,
            batching=version.batching,
            chosen=version.chosen,
        )
        batch_rows = max(1, signature.max_batch_size)
        self._queue_rows = config.queue_rows or 4 * batch_rows
        self._batcher = Batcher(
            batch_rows=batch_rows,
            queue_rows=self._queue_rows,
            delay_seconds=config.queue_delay_seconds,
        )
        # What the next requests cost is known from the last ones where all have the same shape, and values do not matter.
        even = all(length is not None for spec in signature.inputs for length in spec.shape)
        even = even and all(isinstance(session, SteadySession) and session.steady for session in sessions)
        limit = _CHEAP_SECONDS if len(sessions) == 1 else _CHEAP_SECONDS_OF_SEVERAL
        beside = any(isinstance(session, PipelinedSession) for session in sessions)
        self._cheap_seconds = limit if even and not beside else 0.0
        #: A thread has been asked to run what is cheap, and has not done so yet.
        self._lent = False
        self._series = metrics.of_version(version.model, version.version)
        self._instances = [
            (
                PipelinedInstance(self.identity, session, self._batcher, series=self._series, number=number)
                if isinstance(session, PipelinedSession)
                else Instance(self.identity, session, self._batcher, series=self._series, number=number)
            )
            for number, session in enumerate(sessions)
        ]
        for instance in self._instances:
            instance.start()

    @classmethod
    def open(
        cls, version: Servable, config: ModelConfig, metrics: Metrics, lenders: Lenders | None = None
    ) -> "ServedVersion":
        """Open a version and replay its golden sample; raise BackendError, ConfigError or ReplayError."""
        signature, golden = version.signature, version.golden
        check_queue(signature, config)
        preferred = next((format for format in PREFERENCE if format in version.artifacts), None)
        chosen = preferred if config.format is None else config.format
        if chosen is None or chosen not in version.artifacts:
            raise BackendError(f"format: expected one this version has ({', '.join(version.artifacts)}), found {chosen!r}")
        artifact = version.artifacts[chosen]
        backend = backend_for(chosen)
        if version.content is not None and golden is not None:
            replay_content(version.content, golden[0])
        sessions: list[Session] = []
        try:
            for number in range(config.instances):
                session = backend.open(
                    artifact.file, signature, device=config.device_of(number), threads=config.threads,
                    execution=config.execution,
                )  # fmt: skip
                sessions.append(session)
                if golden is not None:
                    replay(
                        session, signature, golden, artifact.tolerance, random=artifact.random, precision=config.precision
                    )
                elif not warm_up(session, signature):
                    log.warning("event=not_warmed_up model=%s version=%d", version.model, version.version)
            example = {} if golden is None else _example(golden[0], signature)
            return cls(
                version,
                config,
                backend=backend,
                format=chosen,
                example=example,
                sessions=sessions,
                metrics=metrics,
                lenders=lenders,
            )
        except BaseException:
            for session in sessions:
                session.close()
            raise

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Check a request on its own and let it wait for an instance; raise SignatureError, InvalidInput, Overloaded."""
        entry = entry_of(request, self.identity.signature, self.config)
        rows = entry.rows
        lender = self._lenders.get(threading.get_ident()) if self._cheap_seconds else None
        if lender is None or self._batcher.expected_seconds(rows) > self._cheap_seconds:
            self._batcher.put(entry)
        else:
            self._batcher.put(entry, wake=False)
            if not self._lent:
                self._lent = True
                lender(self._run_here)
        return entry.future

    def cheap_rows(self) -> int:
        """Return how many rows this thread may compute itself with `run_now`: 0 if it should not, or somebody waits."""
        if not self._cheap_seconds or threading.get_ident() not in self._lenders:
            return 0
        return self._batcher.rows_within(self._cheap_seconds)

    def run_now(self, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute requests in this thread, as one batch, with an instance that has nothing else to do; None if none has."""
        now = time.monotonic()
        signature = self.identity.signature
        try:
            rows = [signature.check(one) for one in inputs]
        except SignatureError:
            return None
        for instance in self._instances:
            if (answers := instance.try_run(inputs, rows, queued=now)) is not None:
                return answers
        return None

    def _run_here(self) -> None:
        """Serve a batch in this thread; what it cannot serve, or should not any more, is the instances' own."""
        self._lent = False
        for instance in self._instances:
            more = instance.try_serve()
            if more is None:
                continue
            if not more:
                return
            lender = self._lenders.get(threading.get_ident())
            if lender is not None and not self._lent and self._batcher.expected_seconds(0) <= self._cheap_seconds:
                self._lent = True
                lender(self._run_here)
                return
            break
        self._batcher.wake()

    @property
    def opened_from(self) -> str:
        """What answers depend on: the files, and the configuration. Processes in which it is equal answer alike."""
        return opened_from(self.identity.digest, self.config)

    def introduce(self) -> None:
        """Tell the metrics what is served from now on."""
        self._series.watch_queue(self._batcher.rows)
        self._series.tell(
            format=self.format,
            digest=self.identity.digest,
            verified=self.identity.verified,
            identity=self.opened_from,
            queue_rows=self._queue_rows,
        )

    @property
    def lost(self) -> bool:
        """Whether a device of it has failed for good."""
        return any(instance.lost for instance in self._instances)

    def runs_for(self, now: float) -> float:
        """Return for how many seconds the batch that has run longest does so, 0 if none runs; infinite for a lost device."""
        if self.lost:
            return math.inf
        return max(instance.runs_for(now) for instance in self._instances)

    def abandon(self) -> None:
        """Let every request that is accepted end with ModelNotReady: a session hangs, and the process is about to end."""
        self._batcher.close()
        error = ModelNotReady("the model does not answer any more; its process is replaced", retry_after_seconds=1)
        for instance in self._instances:
            instance.abandon(error)
        for entry in self._batcher.clear():
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(error)

    def close(self, *, drain_seconds: float) -> bool:
        """Refuse new requests, finish accepted ones within the time, free the sessions; tell whether all was finished."""
        self._batcher.close()
        end = time.monotonic() + drain_seconds
        finished = [instance.join(max(0.0, end - time.monotonic())) for instance in self._instances]
        for instance, done in zip(self._instances, finished, strict=True):
            if done:
                instance.close()
        return all(finished)


def check_queue(signature: Signature, config: ModelConfig) -> None:
    """Raise ConfigError where a request may have more rows than may wait: it would be told to come back later, for ever."""
    most = signature.max_batch_size
    if config.queue_rows is not None and config.queue_rows < most:
        raise ConfigError(f"queue_rows: expected at least max_batch_size, {most}, found {config.queue_rows}")


def opened_from(digest: str, config: ModelConfig) -> str:
    """Return one word for what a version's answers depend on."""
    return hashlib.sha256(f"{digest} {config}".encode()).hexdigest()[:32]


def _example(inputs: Tensors, signature: Signature) -> Tensors:
    """Return one row of the golden sample for the documentation, nothing where that would be long."""
    row = {name: array.copy() for name, array in rows_of(inputs, 0, 1).items()} if signature.batched else dict(inputs)
    return row if sum(array.size for array in row.values()) <= _EXAMPLE_VALUES else {}
