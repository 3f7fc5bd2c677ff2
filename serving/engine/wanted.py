"""Which versions of a model are to be served: its policy, applied to what is published. Opens nothing."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType

from models.repository import Repository, RepositoryError
from serving.engine.finding import config_of
from serving.errors import ModelNotFound, ModelNotReady
from serving.model_config import ConfigError

log = logging.getLogger(__name__)

#: Model → the versions to be served; None where that is for whoever loads it to find out, and to say what is wrong with it.
Wanted = Mapping[str, tuple[int, ...] | None]
#: Model → versions that are wanted too, and that a process does not try to open, as others could not; none if unknown.
Unopened = Mapping[str, tuple[int, ...]]
NOTHING: Unopened = MappingProxyType({})

#: So many older versions of a model are tried at most in place of those that cannot be opened. Each may take all the time
#: that an opening may, and the models after it wait; where so many fail in a row, it is rarely the version's fault.
STAND_INS = 3


def wanted_versions(repository: Repository, model: str) -> tuple[int, ...]:
    """Return the versions of a model that its configuration wants, oldest first; raise RepositoryError or ConfigError."""
    published = repository.versions(model)
    if not published:
        raise RepositoryError("no version of it is published")
    return config_of(repository, model).versions.choose(published)


def attempts(
    repository: Repository, model: str, wanted: tuple[int, ...], served: Callable[[], Collection[int]]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the versions to be opened where nothing is served yet, each with all that are tried.

    They are those wanted, then, the newest first, older ones in place of those that `served` does not name by then; a
    few of them and no more.
    """
    tried = wanted
    for number in wanted:
        yield number, tried
    for _ in range(STAND_INS):
        failed = sorted(set(tried) - set(served()))
        older = _stand_in(repository, model, failed, besides=tried) if failed else None
        if older is None:
            return
        log.warning("event=older_version model=%s instead_of=%s version=%d", model, failed, older)
        tried = (*tried, older)
        yield older, tried


def _stand_in(repository: Repository, model: str, failed: Collection[int], *, besides: Collection[int]) -> int | None:
    """Return the newest version that would be wanted, besides those known, if some that failed had not been published.

    With `latest` there may be one; where a configuration names versions, no other one may stand in for them.
    """
    with contextlib.suppress(RepositoryError, ConfigError):
        rest = [number for number in repository.versions(model) if number not in failed]
        chosen = config_of(repository, model).versions.choose(rest)
        return max((number for number in chosen if number not in besides), default=None)
    return None


def published(repository: Repository, model: str) -> bool:
    """Tell whether a repository has a model; raise ModelNotReady where it cannot be read."""
    try:
        return model in repository.models()
    except RepositoryError as error:
        log.error("event=repository_unreadable reason=%r", str(error))
        raise ModelNotReady("the model repository cannot be read", retry_after_seconds=1) from error


def require(repository: Repository, model: str, *, only: Collection[str] | None) -> None:
    """Raise ModelNotFound unless a repository has a model; or for any new one where `only` some are to be served."""
    if only is not None or not published(repository, model):
        raise ModelNotFound(f"model: expected one of the repository's models, found {model!r:.150}", field="model")


def wanted_of_all(repository: Repository, models: Collection[str] | None) -> dict[str, tuple[int, ...] | None]:
    """Return what is wanted of every model of a repository, or of those named."""
    wanted: dict[str, tuple[int, ...] | None] = {}
    for model in repository.models() if models is None else models:
        try:
            wanted[model] = wanted_versions(repository, model)
        except (RepositoryError, ConfigError):
            wanted[model] = None
    return wanted
