"""LocalEngine: models and versions served in this process.

The table of served versions is immutable and replaced whole, so a request reads it without a lock.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType

from models.repository import Repository, RepositoryError
from models.tensors import SignatureError
from serving import model_config
from serving.backends.base import BackendError
from serving.engine.base import ModelMetadata, ModelStatus, State
from serving.engine.finding import Trust, open_version
from serving.engine.replay import ReplayError
from serving.engine.served import ServedVersion
from serving.engine.statistics import ModelStatistics
from serving.errors import InvalidInput, ModelNotFound, ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest, InferResponse

log = logging.getLogger(__name__)

#: Seconds a client should wait before it asks again for a model that is loading, or for another server of one that is
#: unloading: most are done in less.
_RETRY_SECONDS = 1


#: What may be wrong with a version or its configuration, each with a message for the operator.
_CANNOT_SERVE = (RepositoryError, model_config.ConfigError, BackendError, ReplayError)


class LocalEngine:
    """Models of a repository, the newest version of each, in this process.

    Built empty: `load_all` opens the versions, and may run in a thread of its own while the front end already answers.
    """

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        *,
        models: Collection[str] | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._repository = repository
        self._trust = trust or Trust()
        self._metrics = metrics
        self._only = models
        self._names = sorted(set(repository.models() if models is None else models))
        self._served: Mapping[str, ServedVersion] = MappingProxyType({})
        self._status = {name: ModelStatus(name, None, State.LOADING, "waiting to be loaded") for name in self._names}
        # One thread loads and unloads, one model after the other.
        self._manager = ThreadPoolExecutor(max_workers=1, thread_name_prefix="manage")
        self._loading = True
        self._draining = False
        self._closed = False
        #: Held by whoever replaces the table.
        self._change = threading.Lock()

    def load_all(self) -> None:
        """Open the newest version of every model. One that fails is not ready, says why, and leaves the others alone."""
        for name in self._names:
            if self._closed:
                break
            self._load(name)
        self._loading = False
        ready = sum(status.state is State.READY for status in self._status.values())
        log.info("event=loaded models=%d ready=%d", len(self._names), ready)

    def submit(self, request: InferRequest) -> "Future[InferResponse]":
        """Check a request on its own and let it wait for an instance of its model."""
        served = self._find(request.model, request.version)
        try:
            return served.submit(request)
        except SignatureError as error:
            raise InvalidInput.at(error.field, expected=error.expected, found=error.found) from error

    def metadata(self, model: str, version: int | None = None) -> ModelMetadata:
        """Return what is known of a served version."""
        return self._find(model, version).metadata

    def config(self, model: str, version: int | None = None) -> model_config.ModelConfig:
        """Return how a version is served."""
        return self._find(model, version).config

    def statistics(self, model: str | None = None, version: int | None = None) -> list[ModelStatistics]:
        """Return what a version, or for None every served one, has done since it was opened."""
        if model is None:
            return [served.statistics() for served in self._served.values()]
        return [self._find(model, version).statistics()]

    def index(self) -> list[ModelStatus]:
        """Return every model with its state."""
        return list(self._status.values())

    def ready(self, model: str | None = None, version: int | None = None) -> bool:
        """Tell whether a model can answer; for None, whether loading has ended, some model is ready, and nobody drains.

        One model that failed does not take the others out of service: a probe can ask for the model it needs by name.
        """
        if model is None:
            return bool(self._served) and not self._loading and not self._draining
        try:
            self._find(model, version)
        except ModelNotReady:
            return False
        return not self._draining

    def load(self, model: str) -> "Future[None]":
        """Open the newest version and serve it in place of the one served, in the thread that manages."""
        self._known(model)
        return self._manager.submit(self._reload, model)

    def unload(self, model: str) -> "Future[None]":
        """Finish a model's accepted requests and free it, in the thread that manages."""
        self._known(model)
        return self._manager.submit(self._unload, model)

    def drain(self) -> None:
        """Stop being ready, and go on answering."""
        self._draining = True

    def close(self, *, drain_seconds: float) -> None:
        """Refuse new requests, finish accepted ones within the time, free sessions."""
        self.drain()
        with self._change:
            self._closed = True
            served, self._served = self._served, MappingProxyType({})
        end = time.monotonic() + drain_seconds
        for name, version in served.items():
            self._set(ModelStatus(name, version.identity.version, State.UNLOADING, "the server is shutting down"))
            if not version.close(drain_seconds=max(0.0, end - time.monotonic())):
                log.error("event=drain_timeout model=%s version=%d", name, version.identity.version)
            self._set(ModelStatus(name, version.identity.version, State.UNAVAILABLE, "the server has shut down"))

    def _find(self, model: str, version: int | None) -> ServedVersion:
        """Return the served version, or raise ModelNotFound or ModelNotReady with the reason."""
        served = self._served.get(model)
        if served is not None and version in (None, served.identity.version):
            return served
        status = self._status.get(model)
        if status is None:
            raise ModelNotFound(f"model: expected one of this server's models, found {model!r:.150}", field="model")
        waiting = status.version is None and status.state is State.LOADING
        if version not in (None, status.version) and not waiting:
            raise ModelNotFound(f"version: model {model!r} is not served in version {version}", field="version")
        retry = _RETRY_SECONDS if status.state in (State.LOADING, State.UNLOADING) else None
        raise ModelNotReady(f"model {model!r} is not ready: {status.reason}", retry_after_seconds=retry)

    def _known(self, model: str) -> None:
        """Raise ModelNotFound unless the repository has such a model; one that is new there becomes known."""
        if model in self._status:
            return
        if self._only is not None or model not in self._repository.models():
            raise ModelNotFound(f"model: expected one of the repository's models, found {model!r:.150}", field="model")
        self._set(ModelStatus(model, None, State.UNAVAILABLE, "not loaded"))

    def _load(self, name: str) -> None:
        """Open the newest version of one model and serve it, or say in its status why not."""
        started = time.monotonic()
        number: int | None = None
        try:
            number = self._newest(name)
            self._set(ModelStatus(name, number, State.LOADING, "being opened"))
            served = self._open(name, number)
        except _CANNOT_SERVE as error:
            self._set(ModelStatus(name, number, State.UNAVAILABLE, str(error)))
            log.error("event=load_failed model=%s version=%s reason=%r", name, number, str(error))
            return
        except Exception:  # a fault of ours must not leave the model loading for ever, nor the others unloaded
            self._set(ModelStatus(name, number, State.UNAVAILABLE, "an internal error; the server's log has its cause"))
            log.exception("event=load_failed model=%s version=%s", name, number)
            return
        self._serve(served, seconds=time.monotonic() - started)

    def _reload(self, name: str) -> None:
        """Open the newest version and put it in the place of the one served; that one stays if it cannot be opened."""
        started = time.monotonic()
        before = self._served.get(name)
        if before is None:
            self._load(name)
            if name not in self._served:
                raise ModelNotReady(f"model {name!r} could not be loaded: {self._status[name].reason}")
            return
        try:
            served = self._open(name, self._newest(name))
        except _CANNOT_SERVE as error:
            log.error("event=reload_failed model=%s serving=%d reason=%r", name, before.identity.version, str(error))
            serving = f"version {before.identity.version} serves on"
            raise ModelNotReady(f"model {name!r} could not be loaded, {serving}: {error}") from error
        self._serve(served, seconds=time.monotonic() - started)
        self._free(before)

    def _unload(self, name: str) -> None:
        """Stop serving a model, finish what it accepted, and free it."""
        served = self._served.get(name)
        if served is None:
            self._set(ModelStatus(name, None, State.UNAVAILABLE, "unloaded"))
            return
        version = served.identity.version
        with self._change:
            self._served = MappingProxyType({key: value for key, value in self._served.items() if key != name})
        self._set(ModelStatus(name, version, State.UNLOADING, "finishing what was accepted"))
        self._free(served)
        self._set(ModelStatus(name, version, State.UNAVAILABLE, "unloaded"))
        log.info("event=unloaded model=%s version=%d", name, version)

    def _newest(self, name: str) -> int:
        number = next(reversed(self._repository.versions(name)), None)
        if number is None:
            raise RepositoryError("no version of it is published")
        return number

    def _open(self, name: str, number: int) -> ServedVersion:
        """Verify, open and replay one version."""
        servable, config = open_version(self._repository, name, number, self._trust)
        return ServedVersion.open(servable, config, self._metrics)

    def _serve(self, served: ServedVersion, *, seconds: float) -> None:
        """Let requests find a version that is ready."""
        identity = served.identity
        with self._change:
            if self._closed:  # while this version was being opened, so nobody has asked it anything
                served.close(drain_seconds=1.0)
                self._set(ModelStatus(identity.model, identity.version, State.UNAVAILABLE, "the server has shut down"))
                return
            self._served = MappingProxyType({**self._served, identity.model: served})
            self._set(ModelStatus(identity.model, identity.version, State.READY, served.remark, identity.verified))
        log.info(
            "event=model_ready model=%s version=%d format=%s digest=%.12s replay=%s batching=%s seconds=%.3f",
            identity.model, identity.version, served.format, identity.digest,
            "golden" if identity.verified else "none", served.metadata.batching, seconds,
        )  # fmt: skip

    def _free(self, served: ServedVersion) -> None:
        """Finish what a version accepted, which takes at most its timeout, and free its sessions."""
        if not served.close(drain_seconds=served.config.timeout_seconds):
            log.error("event=drain_timeout model=%s version=%d", served.identity.model, served.identity.version)

    def _set(self, status: ModelStatus) -> None:
        self._status[status.name] = status
        if status.version is not None:
            for state in State:
                value = 1 if state is status.state else 0
                self._metrics.model_state.labels(status.name, str(status.version), state.lower()).set(value)
