"""The life of versions in this process: opened, served, drained, freed.

What is served changes in two steps: `prepare` opens what is wanted beside what is served, and `commit` puts it in its
place, drains the old and frees it. Between the two nothing has happened yet that a failure would have to undo.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from models.repository import Repository, RepositoryError
from serving.engine import completeness
from serving.engine.base import ModelStatus, State
from serving.engine.finding import UnverifiedPolicy
from serving.engine.opener import Opener, Prepared, ToldOpenings, opener_here, reason_of
from serving.engine.served import Lenders
from serving.engine.statuses import ELSEWHERE, UNLOADED, Statuses
from serving.engine.table import ServedModel, Table
from serving.engine.version import Version
from serving.engine.wanted import NOTHING, Unopened, Wanted, attempts, published, require, wanted_versions
from serving.errors import ModelNotReady
from serving.metrics import Metrics

log = logging.getLogger(__name__)


#: Tells front ends in other processes, which ask for what they know of, which versions of a model are served from now on.
#: It blocks until no request for another one can come from them any more.
Announce = Callable[[str, ServedModel | None], None]


class Lifecycle:
    """Changes which versions of a repository's models are served here: those that each model's configuration wants.

    One thread loads and unloads, one model after the other; the table is replaced whole, for whoever reads it.
    """

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        *,
        models: Collection[str] | None,
        policy: UnverifiedPolicy,
        opening_seconds: float,
        lenders: Lenders | None = None,
        opener: Opener | None = None,
    ) -> None:
        """`opener` None: versions are opened in this process."""
        self._repository = repository
        self._metrics = metrics
        self._only = models
        self.table = Table()
        self.status = Statuses(metrics)
        opener = opener or opener_here(repository, policy, metrics, lenders)
        self._openings = ToldOpenings(opener, self.status, seconds=opening_seconds)
        for name in sorted(set(repository.models() if models is None else models)):
            self.status.set(ModelStatus(name, None, State.LOADING, "waiting to be loaded"))
        self._manager = ThreadPoolExecutor(max_workers=1, thread_name_prefix="manage")
        self.loading = True
        self._closed = False
        self._unfinished: list[Version] = []
        #: Held by whoever replaces the table.
        self._change = threading.Lock()
        self._announce: Announce | None = None

    def announce_by(self, announce: Announce) -> None:
        """Announce what is served, before anything that was served instead is closed."""
        self._announce = announce

    def load_all(self, wanted: Wanted | None = None, unopened: Unopened = NOTHING) -> None:
        """Open the versions wanted, by default by every model's configuration; a model not among them stays unloaded.

        A version that cannot be opened is not ready, says why, and leaves the others alone; one that is not to be opened
        says so. Returns when all were tried.
        """
        self._manager.submit(self._load_all, wanted, unopened).result()

    def _load_all(self, wanted: Wanted | None, unopened: Unopened) -> None:
        for name in sorted({*self.status.names(), *(self._published() if wanted is None else wanted)}):
            if self._closed:
                break
            if wanted is None or name in wanted:
                self._load_first(name, None if wanted is None else wanted[name])
            elif name not in unopened:
                self.status.set(ModelStatus(name, None, State.UNAVAILABLE, UNLOADED))
            if name in unopened:
                self._leave_out(name, unopened[name] or (None,))
        # What the process before this one has counted of versions that are not there any more.
        self._metrics.keep({(one.name, one.version) for one in self.status.all()})
        self.loading = False
        ready = sum(self.table.model(name) is not None for name in self.status.names())
        log.info("event=loaded models=%d ready=%d", len(self.status.names()), ready)
        if not self.status.names():
            # What a volume that was not mounted looks like. It may be filled later, so it is no reason to end.
            log.warning("event=no_models repository=%r reason='no model in it; not ready'", str(self._repository.root))

    def _published(self) -> list[str]:
        """Return the models there are by now: one may have come since the states of all were begun."""
        with contextlib.suppress(RepositoryError):
            return self._repository.models() if self._only is None else []
        return []

    def _leave_out(self, name: str, numbers: Collection[int | None]) -> None:
        """Say of versions that are wanted that they are not served here, where their states do not say why already."""
        for number in numbers:
            known = self.status.get(name, number)
            if number in self.table.versions(name):
                continue
            if known is None or known.version != number or known.state is not State.UNAVAILABLE:
                self.status.set(ModelStatus(name, number, State.UNAVAILABLE, ELSEWHERE))

    def load(self, model: str) -> "Future[None]":
        """Serve the versions that are wanted now, in the thread that manages."""
        self.known(model)
        return self._manager.submit(self._load, model)

    def unload(self, model: str) -> "Future[None]":
        """Finish a model's accepted requests and free it, in the thread that manages."""
        self.known(model)
        return self._manager.submit(self._unload, model)

    def prepare(self, model: str, versions: tuple[int, ...], unopened: tuple[int, ...] = ()) -> "Future[Prepared]":
        """Open versions of a model beside those served; the future fails with ModelNotReady if one cannot be opened.

        `unopened` are wanted too, and will not be served, as not every process can open them.
        """
        self.known(model)
        return self._manager.submit(self._prepare, model, versions, unopened)

    def commit(self, prepared: Prepared) -> "Future[None]":
        """Serve what was prepared, drain what was served instead, and free it."""
        return self._manager.submit(self._commit, prepared)

    def discard(self, prepared: Prepared) -> "Future[None]":
        """Close what was prepared: what is served stays as it is."""
        return self._manager.submit(self._discard, prepared)

    def unfinished(self) -> list[Version]:
        """Return the versions that are not served any more and in which a batch still runs."""
        now = time.monotonic()
        self._unfinished = [served for served in self._unfinished if served.runs_for(now)]
        return self._unfinished

    def close(self) -> list[Version]:
        """Serve nothing from now on, and return what was served, for its requests to be finished or given up."""
        with self._change:
            self._closed = True
            served, self.table = list(self.table), Table()
        self._manager.submit(self._openings.stop)  # once it has ended what it is at
        return served

    def tell(self, served: Version, state: State, reason: str) -> None:
        """Set the state of a version."""
        identity = served.identity
        self.status.set(ModelStatus(identity.model, identity.version, state, reason, identity.verified))

    def known(self, model: str) -> None:
        """Raise ModelNotFound unless the repository has such a model; one that is new there becomes known."""
        if self.status.knows(model):
            return
        require(self._repository, model, only=self._only)
        self.status.set(ModelStatus(model, None, State.UNAVAILABLE, "not loaded"))

    def _load_first(self, name: str, wanted: tuple[int, ...] | None) -> None:
        """Serve those of the versions wanted that can be opened, or what would be wanted without those that cannot.

        Each of these says in its state why not. So a server that starts serves what one does that has been running since
        before they were published.
        """
        try:
            numbers = wanted_versions(self._repository, name) if wanted is None else wanted
            for number, tried in attempts(self._repository, name, numbers, lambda: self.table.versions(name)):
                if self._closed:
                    return
                self._open_first(name, number, tried)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other models are loaded all the same
            self._set_unwanted(name, error)
            self.failed(name)

    def _open_first(self, name: str, number: int, tried: tuple[int, ...]) -> None:
        """Serve a version beside those of its model that are served, if it can be opened."""
        try:
            version = self._openings.open(name, number, self.table.find(name, number))
        except ModelNotReady:  # which is in its state, and in the log
            self.failed(name)
            return
        self._commit(Prepared(name, tried, {**self.table.versions(name), number: version}, (version,)))

    def _load(self, name: str) -> None:
        """Serve the versions that are wanted now; those served stay if one of them cannot be opened."""
        try:
            numbers = wanted_versions(self._repository, name)
        except Exception as error:
            raise self._stays(name, self._set_unwanted(name, error)) from error
        self._commit(self._prepare(name, numbers))

    def _set_unwanted(self, name: str, error: Exception) -> str:
        """Log why it is not known which versions of a model are wanted, say so in its state if none is served; return it."""
        reason, fault = reason_of(error)
        log.error("event=load_failed model=%s reason=%r", name, reason, exc_info=fault)
        if not self.table.versions(name):
            self.status.set(ModelStatus(name, None, State.UNAVAILABLE, reason))
        return reason

    def _prepare(self, name: str, numbers: tuple[int, ...], unopened: tuple[int, ...] = ()) -> Prepared:
        """Open the versions that are not served already; none of them if one fails."""
        try:
            return self._openings.open_all(name, numbers, self.table.versions(name), unopened=unopened)
        except ModelNotReady as error:
            raise self._stays(name, str(error)) from error

    def _commit(self, prepared: Prepared) -> None:
        """Let requests find the versions prepared and no others of the model, and free what nobody can find any more."""
        name = prepared.model
        before = self._serve(name, prepared.versions)
        if self._closed:  # while these versions were being opened, so nobody has asked them anything
            for version in prepared.opened:
                version.close(drain_seconds=1.0)
                self.tell(version, State.UNAVAILABLE, "the server has shut down")
            return
        for version in prepared.opened:
            version.introduce()
            self.tell(version, State.READY, version.remark)
            log.info("event=model_ready model=%s version=%d", name, version.identity.version)
        for number, version in before.items():
            if prepared.versions.get(number) is not version:
                if number not in prepared.versions:
                    self.tell(version, State.UNLOADING, "finishing what was accepted")
                self._free(version)
        for status in self.status.of(name):
            if status.version is not None and status.version not in prepared.wanted:
                self.status.forget(name, status.version)
        self._leave_out(name, prepared.unopened)
        self._tell_all(name)
        if not self.loading:  # of each of many models it would be read anew what all of them say
            completeness.note(self._metrics)

    def _serve(self, name: str, versions: Mapping[int, Version]) -> Mapping[int, Version]:
        """Let requests find these versions of a model and no others; return those that were found before."""
        announce = self._announce
        with self._change:
            before = self.table.versions(name)
            if self._closed:
                return before
            # Whoever is still to be told asks for the versions that he knows of: until then both are there.
            self.table = self.table.with_model(name, versions if announce is None else {**before, **versions})
        if announce is not None:
            announce(name, Table().with_model(name, versions).model(name))
            with self._change:
                if not self._closed:
                    self.table = self.table.with_model(name, versions)
        return before

    def _tell_all(self, name: str) -> None:
        """Let all front ends know the states too, which they have been told before this, before it is said to be done."""
        if self._announce is not None:
            self._announce(name, self.table.model(name))

    def _discard(self, prepared: Prepared) -> None:
        self._openings.discard(prepared, self.table.versions(prepared.model))

    def _unload(self, name: str) -> None:
        """Stop serving a model, finish what it accepted, and free it."""
        versions = self._serve(name, {})
        for version in versions.values():
            self.tell(version, State.UNLOADING, "finishing what was accepted")
        for version in versions.values():
            self._free(version)
        for status in self.status.of(name):
            if status.version is not None:
                self.status.forget(name, status.version)
        if published(self._repository, name):
            self.status.set(ModelStatus(name, max(versions, default=None), State.UNAVAILABLE, UNLOADED))
        else:
            self.status.forget_model(name)
        self._tell_all(name)
        completeness.note(self._metrics)
        log.info("event=unloaded model=%s", name)

    def _free(self, served: Version) -> None:
        """Finish what a version accepted, which takes at most its timeout, and free its sessions."""
        if not served.close(drain_seconds=served.config.timeout_seconds):
            log.error("event=drain_timeout model=%s version=%d", served.identity.model, served.identity.version)
            self._unfinished.append(served)

    def failed(self, model: str) -> None:
        """Count that a model could not be loaded as it lies on the disk, here or for all processes."""
        self._metrics.load_failed(model)

    def _stays(self, name: str, reason: str) -> ModelNotReady:
        """Count a load that has failed; return what to tell whoever wanted it."""
        self.failed(name)
        serving = ", ".join(str(number) for number in sorted(self.table.versions(name)))
        stays = f", version {serving} serves on" if serving else ""
        return ModelNotReady(f"model {name!r} could not be loaded{stays}: {reason}")
