"""What a front end knows of the engine's process: which versions it serves, the states of all others, how it is itself.

Written on the event loop as the engine tells it, read by any thread: whatever is read together is replaced whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from serving.engine.base import ModelMetadata, ModelStatus, State
from serving.engine.statuses import absence
from serving.errors import ModelNotReady, ServingError
from serving.model_config import ModelConfig

#: One version: what a client may know of it, and how it is served.
Served = tuple[ModelMetadata, ModelConfig]
_NOTHING: Mapping[int, Served] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Model:
    """The versions of a model that are served, at least one, and the newest of them."""

    versions: Mapping[int, Served]
    newest: Served


class Mirror:
    """The state of one engine's process. It is of use once it is `whole`: before, some of it is still on its way."""

    def __init__(self) -> None:
        self.whole = False
        self.loading = True
        self.alive = True
        self._models: Mapping[str, _Model] = MappingProxyType({})
        self._statuses: Mapping[str, Mapping[int | None, ModelStatus]] = MappingProxyType({})

    def __bool__(self) -> bool:
        return bool(self._models)

    @property
    def names_known(self) -> bool:
        """Whether it is known which models there are, from this process of the engine or the one before."""
        return self.whole or bool(self._statuses)

    def names(self) -> "Mirror":
        """Return what is still true once the engine's process has ended: which models there are."""
        left = Mirror()
        left._statuses = self._statuses
        return left

    def find(self, model: str, version: int | None) -> Served:
        """Return a version that is served, for None the newest; raise ModelNotFound, or ModelNotReady with the reason."""
        found = self._models.get(model)
        served = None if found is None else found.newest if version is None else found.versions.get(version)
        if served is None:
            raise self.absence(model, version)
        status = self._statuses.get(model, {}).get(served[0].version)
        if status is not None and status.state is State.UNAVAILABLE:  # a batch hangs in it
            raise ModelNotReady(f"model {model!r} is not ready: {status.reason}")
        return served

    def absence(self, model: str, version: int | None) -> ServingError:
        """Return the error for whoever asks for a version that is not served."""
        return absence(self._statuses.get(model), model, version)

    def knows(self, model: str) -> bool:
        """Tell whether this is a model of the repository."""
        return model in self._statuses

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model that are served, oldest first."""
        found = self._models.get(model)
        return [] if found is None else sorted(found.versions)

    def served(self) -> set[tuple[str, int]]:
        """Return every version that is served."""
        return {(name, number) for name, model in self._models.items() for number in model.versions}

    def stated(self) -> set[tuple[str, int | None]]:
        """Return every version that has a state."""
        return {(name, number) for name, statuses in self._statuses.items() for number in statuses}

    def set_statuses(self, model: str, statuses: Mapping[int | None, ModelStatus]) -> None:
        """Take the states of a model's versions; none for a model that is not there any more."""
        others = {name: found for name, found in self._statuses.items() if name != model}
        self._statuses = MappingProxyType({**others, model: statuses} if statuses else others)

    def set_served(self, model: str, versions: Mapping[int, Served]) -> None:
        """Take the versions of a model that are served."""
        others = {name: found for name, found in self._models.items() if name != model}
        if not versions:
            self._models = MappingProxyType(others)
            return
        numbers = tuple(sorted(versions))
        whole = {number: (replace(versions[number][0], versions=numbers), versions[number][1]) for number in numbers}
        self._models = MappingProxyType({**others, model: _Model(whole, whole[numbers[-1]])})
