"""Watching the repository: what changes on the disk is loaded, what goes is unloaded.

It looks again and again instead of being told, because network file systems and mounted volumes tell nobody.
"""

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from pathlib import Path

from models.repository import Repository, RepositoryError
from serving.engine.base import Management
from serving.errors import ServingError

log = logging.getLogger(__name__)

#: What a file is told by without reading it: its place, when it was changed, how large it is, and which one it is.
_File = tuple[str, int, int, int]
Fingerprint = frozenset[_File]


class Watch:
    """Looks at a repository every so many seconds, in a thread of its own.

    A model is loaded once it looks the same twice: while its files are still being copied it does not. One that was
    unloaded by hand, or could not be loaded, stays so until something about it changes.
    """

    def __init__(
        self, repository: Repository, management: Management, *, models: Collection[str] | None, seconds: float
    ) -> None:
        self._repository = repository
        self._management = management
        self._only = models
        self._seconds = seconds
        self._stopped = threading.Event()
        self._acted = self._look()
        self._again: set[str] = set()
        self._seen: Mapping[str, Fingerprint] = self._acted
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> list[str]:
        """Look once, have loaded or unloaded what has changed and come to rest, and return the names of that."""
        now = self._look()
        settled = {name for name in {*now, *self._seen, *self._acted} if now.get(name) == self._seen.get(name)}
        self._seen = now
        again, self._again = self._again, set()
        again &= now.keys()
        changed = sorted(name for name in settled if name in again or now.get(name) != self._acted.get(name))
        for name in changed:
            act = self._management.load if name in now else self._management.unload
            log.info("event=repository_changed model=%s action=%s", name, act.__name__)
            # A model that is gone before it was known is nobody's; a load that fails is in the log, where it failed.
            with contextlib.suppress(ServingError):
                act(name).add_done_callback(functools.partial(self._done, name))
        others = {name: fingerprint for name, fingerprint in self._acted.items() if name not in changed}
        self._acted = {**others, **{name: now[name] for name in changed if name in now}}
        return changed

    def _done(self, name: str, act: "Future[None]") -> None:
        """Try once more what failed by no fault of the model's; it says after how long, and the next look is soon enough."""
        error = act.exception()
        if isinstance(error, ServingError) and error.retry_after_seconds is not None:
            self._again.add(name)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self.step()
            except RepositoryError as error:  # the whole repository is gone for a moment: nothing of it is unloaded
                log.warning("event=watch_failed reason=%r", str(error))

    def _look(self) -> dict[str, Fingerprint]:
        """Return the fingerprint of every model."""
        names = self._repository.models()
        return {
            name: fingerprint(self._repository.root / name) for name in names if self._only is None or name in self._only
        }


def fingerprint(folder: Path) -> Fingerprint:
    """Return what a model's folder and the folders in it hold, by size and time of change."""
    files: set[_File] = set()
    for parent in (folder, *_folders(folder)):
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file():
                        found = entry.stat()
                        place = f"{parent.name}/{entry.name}"
                        files.add((place, found.st_mtime_ns, found.st_size, found.st_ino))
    return frozenset(files)


def _folders(folder: Path) -> list[Path]:
    """Return the versions in a model's folder; a staging folder, which begins with a dot, is nobody's business."""
    try:
        return [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError:
        return []
