"""Which versions of a model are to be served: its policy, applied to what is published. Opens nothing."""

from collections.abc import Collection, Mapping

from models.repository import Repository, RepositoryError
from serving.engine.finding import config_of
from serving.model_config import ConfigError

#: Model → the versions to be served; None where that is for whoever loads it to find out, and to say what is wrong with it.
Wanted = Mapping[str, tuple[int, ...] | None]


def wanted_versions(repository: Repository, model: str) -> tuple[int, ...]:
    """Return the versions of a model that its configuration wants, oldest first; raise RepositoryError or ConfigError."""
    published = repository.versions(model)
    if not published:
        raise RepositoryError("no version of it is published")
    return config_of(repository, model).versions.choose(published)


def wanted_of_all(repository: Repository, models: Collection[str] | None) -> dict[str, tuple[int, ...] | None]:
    """Return what is wanted of every model of a repository, or of those named."""
    wanted: dict[str, tuple[int, ...] | None] = {}
    for model in repository.models() if models is None else models:
        try:
            wanted[model] = wanted_versions(repository, model)
        except (RepositoryError, ConfigError):
            wanted[model] = None
    return wanted
