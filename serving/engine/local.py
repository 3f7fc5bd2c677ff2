"""LocalEngine: models and versions served in this process. It finds who answers; lifecycle.py says who is there."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from models.repository import Repository
from models.tensors import SignatureError, Tensors
from serving.engine import completeness
from serving.engine.answer import Answer
from serving.engine.base import ModelMetadata, ModelStatus, State
from serving.engine.finding import UnverifiedPolicy
from serving.engine.lifecycle import Lifecycle
from serving.engine.opener import Opener
from serving.engine.statistics import ModelStatistics, statistics_of
from serving.engine.version import Version
from serving.engine.wanted import NOTHING, Unopened, Wanted
from serving.errors import InvalidInput, ModelNotReady
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse

log = logging.getLogger(__name__)

#: Seconds a client should wait before it asks again for a model that is loading, or for another server of one that is
#: unloading: most are done in less.
_RETRY_SECONDS = 1
#: What ending a version takes that has nothing to do, however little of the time for its requests is left.
_FREE_SECONDS = 0.2


class LocalEngine:
    """The models of a repository, those versions of each that its configuration wants, in this process.

    Built empty: `load_all` opens the versions, and may run in a thread of its own while the front end already answers.
    """

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        *,
        models: Collection[str] | None = None,
        policy: UnverifiedPolicy = UnverifiedPolicy(),  # noqa: B008 - frozen, and nothing but two truth values
        opening_seconds: float = 300.0,
        opener: Opener | None = None,
    ) -> None:
        """`opener` None: versions are opened, and compute, in this process."""
        self._metrics = metrics
        self._lenders: dict[int, Callable[[Callable[[], None]], object]] = {}
        self._life = Lifecycle(
            repository,
            metrics,
            models=models,
            policy=policy,
            opening_seconds=opening_seconds,
            lenders=self._lenders,
            opener=opener,
        )
        #: Loading and unloading, for this process alone.
        self.management = self._life
        self._draining = False

    def load_all(self, wanted: Wanted | None = None, unopened: Unopened = NOTHING) -> None:
        """Open what is wanted, by default by every model's configuration; the server is ready when this has ended.

        `unopened` is wanted as well, and not tried here.
        """
        self._life.load_all(wanted, unopened)
        self._metrics.loaded()
        completeness.note(self._metrics)

    def lend(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Let this thread compute what is cheap of the requests it submits."""
        self._lenders[threading.get_ident()] = soon

    def cheap_rows(self, model: str, version: int) -> int:
        """Return how many rows the thread that calls this may compute itself with `run_now`: 0 if it should not."""
        served = self._life.table.find(model, version)
        return 0 if served is None or served.hangs else served.cheap_rows()

    def run_now(self, model: str, version: int, inputs: Sequence[Tensors]) -> list[InferResponse] | None:
        """Compute requests in the thread that calls this, as one batch; None: they are to be submitted."""
        served = self._life.table.find(model, version)
        return None if served is None else served.run_now(inputs)

    def submit(self, request: InferRequest) -> Answer[InferResponse]:
        """Check a request on its own and let it wait for an instance of its model."""
        served = self._find(request.model, request.version)
        while True:
            try:
                return served.submit(request)
            except SignatureError as error:
                raise InvalidInput.at(error.field, expected=error.expected, found=error.found) from error
            except ModelNotReady:
                # It was closed between being found and being asked, and may be open anew, for another configuration.
                now = self._find(request.model, request.version)
                if now is served:
                    raise
                served = now

    def metadata(self, model: str, version: int | None = None) -> ModelMetadata:
        """Return what is known of a served version."""
        identity = self._find(model, version).identity
        served = self._life.table.model(model)
        if served is None or identity.version not in served.metadata:  # unloaded in this very moment
            raise ModelNotReady(f"model {model!r} is being unloaded", retry_after_seconds=_RETRY_SECONDS)
        return served.metadata[identity.version]

    def config(self, model: str, version: int | None = None) -> ModelConfig:
        """Return how a version is served."""
        return self._find(model, version).config

    def statistics(self, model: str | None = None, version: int | None = None) -> list[ModelStatistics]:
        """Return what the served versions of a model, or for None of every model, have done, over all processes."""
        if model is None:
            served = list(self._life.table)
        elif version is None and (found := self._life.table.model(model)) is not None:
            served = [found.versions[number] for number in sorted(found.versions)]
        else:
            served = [self._find(model, version)]
        figures = self._metrics.figures()
        keys = [(one.identity.model, one.identity.version) for one in served]
        # One that was freed in this very moment has no figures any more.
        known = ((*key, figures.get((key[0], str(key[1])))) for key in keys)
        return [statistics_of(name, number, found) for name, number, found in known if found is not None]

    def index(self) -> list[ModelStatus]:
        """Return every model and version with its state, over all processes."""
        return self._life.status.everywhere()

    def knows(self, model: str) -> bool:
        """Tell whether this is a model of the repository."""
        return self._life.status.knows(model)

    def opened_from(self, model: str) -> dict[int, str]:
        """Return what each served version of a model was opened from and how (see ServedVersion)."""
        return {number: version.opened_from for number, version in self._life.table.versions(model).items()}

    def ready(self, model: str | None = None, version: int | None = None) -> bool:
        """Tell whether a model can answer; for None, whether loading has ended, some model is ready, and nobody drains.

        One model that failed does not take the others out of service: a probe can ask for the model it needs by name. Where
        several processes answer, all of them have loaded: whoever asks next may meet another.
        """
        if model is None:
            loading = self._life.loading or self._metrics.somebody_loads()
            return bool(self._life.table) and not loading and not self._draining
        try:
            self._find(model, version)
        except ModelNotReady:
            return False
        return not self._draining

    def was_complete(self) -> bool:
        """Tell whether every version wanted of every model has been served at the same time, in all processes, ever."""
        return self._metrics.was_complete()

    def alive(self) -> bool:
        """Tell whether every instance makes progress."""
        return not self.hangs_for()

    def hangs_for(self) -> float:
        """Return for how many seconds the instance that has hung longest does so, 0 if none does; tell of it in the states.

        A batch hangs that has run longer than its model's `hang_seconds`. Called now and then by whoever runs the server.
        """
        now, longest = time.monotonic(), 0.0
        for served in self._life.table:
            seconds = served.runs_for(now) - served.config.hang_seconds
            if (seconds > 0) is not bool(served.hangs):
                self._hangs(served, hangs=seconds > 0)
            longest = max(longest, seconds)
        # And of those that were replaced or unloaded, and could not be freed.
        return max(longest, *(served.runs_for(now) - served.config.hang_seconds for served in self._life.unfinished()), 0.0)

    def drain(self) -> None:
        """Stop being ready, and go on answering."""
        self._draining = True

    def close(self, *, drain_seconds: float) -> None:
        """Refuse new requests, finish accepted ones within the time, free sessions."""
        self.drain()
        served = self._life.close()
        end = time.monotonic() + max(_FREE_SECONDS, drain_seconds)
        for version in served:
            self._life.tell(version, State.UNLOADING, "the server is shutting down")
        for version in served:
            if not version.close(drain_seconds=max(0.0, end - time.monotonic())):
                log.error("event=drain_timeout model=%s version=%d", version.identity.model, version.identity.version)
            self._life.tell(version, State.UNAVAILABLE, "the server has shut down")

    def abandon(self) -> None:
        """Let every request end with ModelNotReady, at once: the process is about to end."""
        self.drain()
        for version in self._life.close():
            # Who asks now is told to come back: by then another process answers.
            self._life.tell(version, State.UNLOADING, "its process is about to end, and to be replaced")
            version.abandon()

    def _find(self, model: str, version: int | None) -> Version:
        """Return the served version, or raise ModelNotFound or ModelNotReady with the reason."""
        served = self._life.table.find(model, version)
        if served is not None:
            if served.hangs:
                raise ModelNotReady(f"model {model!r} is not ready: {served.hangs}")
            return served
        raise self._life.status.absence(model, version)

    def _hangs(self, served: Version, *, hangs: bool) -> None:
        """Say in a version's state that a batch hangs, or that it has ended after all."""
        why = "its device has failed" if served.lost else f"a batch runs for more than {served.config.hang_seconds:g} s"
        served.hangs = why if hangs else ""
        level = logging.ERROR if hangs else logging.WARNING
        event = "instance_hangs" if hangs else "instance_goes_on"
        log.log(level, "event=%s model=%s version=%d", event, served.identity.model, served.identity.version)
        self._life.tell(served, State.UNAVAILABLE if hangs else State.READY, served.hangs or served.remark)
        completeness.note(self._metrics)
