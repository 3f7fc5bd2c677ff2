"""Opening versions, and telling of it: their states while they are opened, the log, and why one could not be."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.repository import Repository, RepositoryError
from serving import model_config
from serving.backends.base import BackendError
from serving.counters import OutOfBlocks
from serving.engine.base import ModelStatus, State
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.openings import Openings, OpeningTooLong
from serving.engine.replay import ReplayError
from serving.engine.served import Lenders, ServedVersion
from serving.engine.statuses import Statuses
from serving.engine.version import Version
from serving.errors import ModelNotReady
from serving.metrics import Metrics

log = logging.getLogger(__name__)

#: Opens a version by its model's name and its number, given the one that is served, which it returns if nothing has changed.
Opener = Callable[[str, int, Version | None], Version]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Versions of a model that are open and to be served, of those wanted; `opened` are the ones not served before.

    Those wanted that are not here have a state that says why: they could not be opened, or (`unopened`) not everywhere.
    """

    model: str
    wanted: tuple[int, ...]
    versions: Mapping[int, Version]
    opened: tuple[Version, ...]
    unopened: tuple[int, ...] = ()


class NotOpened(Exception):
    """Another process could not open a version; the message is for the operator."""


#: What may be wrong with a version or its configuration, each with a message for the operator.
CANNOT_SERVE = (RepositoryError, model_config.ConfigError, BackendError, ReplayError, OutOfBlocks, OpeningTooLong, NotOpened)


def opener_here(repository: Repository, policy: UnverifiedPolicy, metrics: Metrics, lenders: Lenders | None) -> Opener:
    """Return what opens versions in this process."""

    def opened(name: str, number: int, served: Version | None) -> Version:
        version, config = open_version(repository, name, number, policy)
        if served is not None and (served.identity.digest, served.config) == (version.digest, config):
            return served
        return ServedVersion.open(version, config, metrics, lenders)

    return opened


def reason_of(error: Exception) -> tuple[str, Exception | None]:
    """Return why something could not be served, as clients are told it, and the fault of ours that belongs into the log."""
    if isinstance(error, CANNOT_SERVE):
        return str(error), None
    return "an internal error; the server's log has its cause", error


class ToldOpenings:
    """Opens versions, one after the other and each in time, and says in their states how that goes."""

    def __init__(self, opener: Opener, status: Statuses, *, seconds: float) -> None:
        self._opener = opener
        self._status = status
        self._openings: Openings[Version] = Openings(seconds)

    def open(self, name: str, number: int, served: Version | None) -> Version:
        """Verify, open and replay a version, or return it as it is served if nothing about it has changed.

        Raise ModelNotReady, which is logged, and in the version's state unless it is served.
        """
        started = time.monotonic()
        if served is None:
            self._status.set(ModelStatus(name, number, State.LOADING, "being opened"))
        try:
            opened = self._openings.run(lambda: self._opener(name, number, served))
            if opened is served:
                return served
        except Exception as error:  # a fault of ours must not leave the model loading for ever, nor the others unloaded
            reason, fault = reason_of(error)
            log.error("event=load_failed model=%s version=%d reason=%r", name, number, reason, exc_info=fault)
            if served is None:
                self._status.set(ModelStatus(name, number, State.UNAVAILABLE, reason))
            raise ModelNotReady(f"version {number}: {reason}") from error
        log.info(
            "event=model_opened model=%s version=%d format=%s chosen=%s digest=%.12s replay=%s batching=%s seconds=%.3f",
            name, number, opened.format, opened.metadata.chosen, opened.identity.digest,
            "golden" if opened.identity.verified else "none", opened.metadata.batching, time.monotonic() - started,
        )  # fmt: skip
        return opened

    def open_all(
        self, name: str, numbers: tuple[int, ...], served: Mapping[int, Version], *, unopened: tuple[int, ...] = ()
    ) -> Prepared:
        """Open the versions of a model that are not served already; none of them if one fails: raise ModelNotReady."""
        versions: dict[int, Version] = {}
        try:
            for number in numbers:
                versions[number] = self.open(name, number, served.get(number))
        except ModelNotReady:
            self._close_unused(versions, served)
            raise
        opened = tuple(version for number, version in versions.items() if version is not served.get(number))
        return Prepared(name, (*numbers, *unopened), versions, opened, unopened)

    def discard(self, prepared: Prepared, served: Mapping[int, Version]) -> None:
        """Close what was prepared and is not served."""
        self._close_unused(prepared.versions, served)

    def _close_unused(self, versions: Mapping[int, Version], served: Mapping[int, Version]) -> None:
        for number, version in versions.items():
            if served.get(number) is version:
                continue
            version.close(drain_seconds=1.0)
            if number not in served:
                self._status.forget(version.identity.model, number)

    def stop(self) -> None:
        """Open nothing any more."""
        self._openings.stop()
