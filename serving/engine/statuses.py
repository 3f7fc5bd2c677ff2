"""The states of versions: what one process says of its own, and what that makes of all processes together."""

import threading
from collections.abc import Callable, Mapping, Sequence

from serving.block_bytes import Facts
from serving.engine.base import ModelStatus, State
from serving.errors import ModelNotFound, ModelNotReady, ServingError
from serving.metrics import Metrics

#: Where processes differ, a version is in the first of these states that one of them has: ready means ready everywhere.
_FIRST = (State.UNAVAILABLE, State.LOADING, State.UNLOADING, State.READY)

#: The reason of a model of which nothing is wanted: it was unloaded on request, or nobody has asked for it yet.
UNLOADED = "unloaded"
#: The reason of a version that a process did not try to open, as another one could not.
ELSEWHERE = "another process of this server could not open it"

#: Seconds a client should wait before it asks again for a model that is loading, or for another server of one that is
#: unloading: most are done in less.
_RETRY_SECONDS = 1


class Statuses:
    """The states of this process's models and versions, told to all the others through the counters."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Of each model a dictionary that is replaced whole, so that any thread may read while one writes.
        self._lock = threading.Lock()
        self._known: dict[str, Mapping[int | None, ModelStatus]] = {}
        self._changed: Callable[[str], None] = lambda _: None

    def knows(self, model: str) -> bool:
        """Tell whether this is a model of the repository."""
        return model in self._known

    def names(self) -> list[str]:
        """Return the names of all models."""
        return list(self._known)

    def get(self, model: str, version: int | None) -> ModelStatus | None:
        """Return the state of a version, for None that of the newest one or of the model without any."""
        return _status(self._known.get(model, {}), version)

    def absence(self, model: str, version: int | None) -> ServingError:
        """Return the error for whoever asks for a version that is not served."""
        return absence(self._known.get(model), model, version)

    def follow(self, follower: Callable[[str], None]) -> None:
        """Call this with the name of each model of which a state has changed, from now on."""
        self._changed = follower

    def set(self, status: ModelStatus) -> None:
        """Set the state of a version or, until it has a version, of a model."""
        with self._lock:
            versions = self._known.get(status.name, {})
            kept = {number: known for number, known in versions.items() if number is not None or status.version is None}
            self._known[status.name] = {**kept, status.version: status}
        if status.version is not None and None in versions:
            self._metrics.tell(status.name, None, state=None)
        self._metrics.tell(
            status.name, status.version, state=status.state.value, reason=status.reason, vouched=status.verified
        )
        self._changed(status.name)

    def forget(self, model: str, version: int) -> None:
        """Let a version go that is neither served nor wanted."""
        with self._lock:
            versions = self._known.get(model, {})
            self._known[model] = {number: status for number, status in versions.items() if number != version}
        self._metrics.retire(model, version)
        self._changed(model)

    def forget_model(self, model: str) -> None:
        """Let a model go that is not in the repository any more."""
        for version in self._known.pop(model, {}):
            if version is not None:
                self._metrics.retire(model, version)
        self._metrics.retire_model(model)
        self._changed(model)

    def of(self, model: str) -> list[ModelStatus]:
        """Return the states of a model's versions."""
        return list(self._known.get(model, {}).values())

    def all(self) -> list[ModelStatus]:
        """Return the states of this process's models and versions."""
        return [status for versions in list(self._known.values()) for status in versions.values()]

    def everywhere(self) -> list[ModelStatus]:
        """Return the states of all versions over all processes, by name and number."""
        return merged(self._metrics.facts())


def absence(known: Mapping[int | None, ModelStatus] | None, model: str, version: int | None) -> ServingError:
    """Return the error for whoever asks for a version that is not served, given its model's states, None for no model."""
    if known is None:
        return ModelNotFound(f"model: expected one of this server's models, found {model!r:.150}", field="model")
    status, newest = _status(known, version), _status(known, None)
    if status is None and newest is not None and newest.version is None and newest.state is State.LOADING:
        status = newest  # which versions it has is not known yet
    if status is None:
        return ModelNotFound(f"version: model {model!r} is not served in version {version}", field="version")
    # One that is ready, and not there, goes in this very moment.
    retry = None if status.state is State.UNAVAILABLE else _RETRY_SECONDS
    return ModelNotReady(f"model {model!r} is not ready: {status.reason or 'being replaced'}", retry_after_seconds=retry)


def _status(known: Mapping[int | None, ModelStatus], version: int | None) -> ModelStatus | None:
    """Return the state of a version, for None that of the newest one or of the model without any."""
    if version is not None:
        return known.get(version)
    return known.get(None) or known.get(max((number for number in known if number is not None), default=None))


def merged(told: Mapping[int, Sequence[Facts]]) -> list[ModelStatus]:
    """Return the index of a server, given what each of its processes says: a version that one lacks is loading there."""
    reports: dict[tuple[str, int | None], list[ModelStatus]] = {}
    for facts in (one for process in told.values() for one in process):
        if facts.get("state") is None:
            continue
        version = int(facts["version"]) if facts["version"] else None
        status = ModelStatus(facts["model"], version, State(facts["state"]), facts.get("reason", ""), facts.get("vouched"))
        reports.setdefault((status.name, version), []).append(status)
    serving = sum(any(facts.get("state") for facts in process) for process in told.values())
    index = []
    for key in sorted(reports, key=lambda key: (key[0], key[1] or 0)):
        found = reports[key]
        if len(found) < serving:
            found = [*found, ModelStatus(*key, State.LOADING, "a process has not opened it yet")]
        # Of two that cannot serve it, the one that knows why is heard.
        index.append(min(found, key=lambda status: (_FIRST.index(status.state), status.reason == ELSEWHERE)))
    return index
