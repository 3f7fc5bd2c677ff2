"""The table of what is served: immutable and replaced whole, so a request reads it without a lock."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from serving.engine.base import ModelMetadata
from serving.engine.version import Version


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The served versions of one model, at least one."""

    versions: Mapping[int, Version]
    newest: Version
    #: Of each version, with the numbers of all of them.
    metadata: Mapping[int, ModelMetadata]

    @classmethod
    def of(cls, versions: Mapping[int, Version]) -> "ServedModel":
        """Return the model that has these versions."""
        numbers = tuple(sorted(versions))
        metadata = {number: replace(versions[number].metadata, versions=numbers) for number in numbers}
        return cls(versions, versions[numbers[-1]], metadata)


class Table:
    """What is served, by model and version."""

    def __init__(self, models: Mapping[str, ServedModel] | None = None) -> None:
        self._models = MappingProxyType(dict(models or {}))

    def model(self, name: str) -> ServedModel | None:
        """Return a model, None if no version of it is served."""
        return self._models.get(name)

    def find(self, name: str, version: int | None) -> Version | None:
        """Return a version of a model, for None the newest; None if it is not served."""
        model = self._models.get(name)
        if model is None:
            return None
        return model.newest if version is None else model.versions.get(version)

    def versions(self, name: str) -> Mapping[int, Version]:
        """Return the served versions of a model by their numbers."""
        model = self._models.get(name)
        return {} if model is None else model.versions

    def with_model(self, name: str, versions: Mapping[int, Version]) -> "Table":
        """Return the table in which a model has these versions, and is not there without any."""
        others = {key: model for key, model in self._models.items() if key != name}
        return Table({**others, name: ServedModel.of(versions)} if versions else others)

    def __iter__(self) -> Iterator[Version]:
        return (version for model in self._models.values() for version in model.versions.values())

    def __bool__(self) -> bool:
        return bool(self._models)
