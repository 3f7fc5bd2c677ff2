"""Which versions of a model are to be served: its policy, applied to what is published. Opens nothing."""

from models.repository import CONFIG, Repository, RepositoryError
from serving import model_config


def wanted_versions(repository: Repository, model: str) -> tuple[int, ...]:
    """Return the versions of a model that its configuration wants, oldest first; raise RepositoryError or ConfigError."""
    published = repository.versions(model)
    if not published:
        raise RepositoryError("no version of it is published")
    return model_config.read(repository.root / model / CONFIG).versions.choose(published)
