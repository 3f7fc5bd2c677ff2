"""Handling a request on the version that is served now, once more if that version is swapped meanwhile.

A request is decoded by a version's signature and must be run by that very version. Between the two a newer version may
have taken its place; the client, who named none, must not notice.
"""

from collections.abc import Callable
from typing import TypeVar

from serving.engine.base import Engine, ModelMetadata
from serving.errors import ModelNotFound, ModelNotReady

T = TypeVar("T")


def on_current(engine: Engine, model: str, version: int | None, attempt: Callable[[ModelMetadata], T]) -> T:
    """Return what `attempt` returns for the version named or, for None, the newest served."""
    metadata = engine.metadata(model, version)
    while True:
        try:
            return attempt(metadata)
        except (ModelNotFound, ModelNotReady):
            now = engine.metadata(model, version)
            if now.digest == metadata.digest:
                raise
            metadata = now
