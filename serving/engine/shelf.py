"""The versions that a replica has open: at most so many, and where there are more, those that were asked for last.

The edge knows which versions are served, and says with each request which one is meant, by what it was opened from. Here
that one is opened, verified and replayed as in any other process, and answers; a version nobody asks for is closed. So
no replica can answer with another version than the one that the edge has chosen, whatever lies on its disk.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from models.repository import Repository
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.opener import CANNOT_SERVE, NotOpened
from serving.engine.openings import Openings
from serving.engine.parcels import Batch, Held, Opened
from serving.engine.served import ServedVersion, check_queue, opened_from
from serving.engine.tally import Tallies
from serving.engine.wanted import wanted_of_all

log = logging.getLogger(__name__)


#: Rows that may wait here: what may wait at all, the edge decides, which has `queue_rows` for every replica there may be.
_AMPLE_ROWS = 1_000_000


class Shelf:
    """Opens versions, keeps them, closes them. Used on one event loop, which it never blocks."""

    def __init__(
        self, repository: Repository, *, policy: UnverifiedPolicy, models: Collection[str] | None, most: int, seconds: float
    ) -> None:
        """`most` versions are open at once; opening one may take so many seconds."""
        self._repository = repository
        self._policy = policy
        self._only = models
        self._most = most
        self._tallies = Tallies()
        self._lenders: dict[int, Callable[[Callable[[], None]], object]] = {}
        self._openings: Openings[_Shelved] = Openings(seconds)
        #: By key, those asked for last at the end.
        self._open: OrderedDict[str, _Shelved] = OrderedDict()
        #: Closed, and not ended: what they have accepted is being finished.
        self._closing: dict[ServedVersion, threading.Thread] = {}
        # One opening after the other: they would only take each other's processor.
        self._turn = asyncio.Lock()
        #: What is being opened, and of that what is asked for by its key.
        self._tasks: set[asyncio.Task[_Shelved]] = set()
        self._asked: dict[str, asyncio.Task[_Shelved]] = {}
        self._failing: set[str] = set()

    def lend(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Let this thread compute what is cheap of the requests it submits."""
        self._lenders[threading.get_ident()] = soon

    def open_all(self) -> None:
        """Open what the repository wants to be served, if it all fits: a replica that begins with nothing answers late.

        Blocks; what cannot be opened is in the log, and not the edge's business before it asks for it.
        """
        wanted = [
            (model, number)
            for model, numbers in wanted_of_all(self._repository, self._only).items()
            for number in numbers or ()
        ]
        if len(wanted) > self._most:
            return
        for model, number in wanted:
            try:
                self._put(self._openings.run(lambda model=model, number=number: self._opened(model, number, None)))  # type: ignore[misc]
            except CANNOT_SERVE as error:
                log.warning("event=not_opened model=%s version=%d reason=%r", model, number, str(error))

    async def find(self, model: str, number: int) -> Opened:
        """Open a version as it lies in the repository and is configured now; raise NotOpened."""
        # Not shared with others who look for it: what they find may have been read before this was asked.
        return (await asyncio.shield(self._begin(lambda: self._opened(model, number, None)))).opened

    async def hold(self, held: Held) -> ServedVersion:
        """Return a version that somebody asks for, opened if it is not; raise NotOpened."""
        key = held.key
        version = self._open.get(key)
        if version is None:
            task = self._asked.get(key)
            if task is None:
                task = self._asked[key] = self._begin(lambda: self._opened(held.model, held.version, held))
                task.add_done_callback(lambda _: self._asked.pop(key, None))
            try:
                version = await asyncio.shield(task)
            except NotOpened:
                self._failing.add(key)
                raise
        self._failing.discard(key)
        if key in self._open:  # others may have taken its place before whoever waited for it was told
            self._open.move_to_end(key)
        return version.served

    def keep(self, keys: Collection[str]) -> None:
        """Close every version but these: nobody asks for the others any more."""
        self._failing.intersection_update(keys)
        for key in [key for key in self._open if key not in keys]:
            self._close(self._open.pop(key).served)

    def wait(self, seconds: float) -> None:
        """Block until what was closed has ended, for so long at most."""
        for ending in list(self._closing.values()):
            ending.join(seconds)

    def keys(self) -> list[str]:
        """Return the versions that are open."""
        return list(self._open)

    def failing(self) -> list[str]:
        """Return the versions that are still asked for and could not be opened the last time."""
        return sorted(self._failing)

    def batches(self, held: Held) -> list[Batch]:
        """Return the batches of a version that nobody was told of yet."""
        return self._tallies.take(held.model, held.version)

    def hangs_for(self) -> float:
        """Return for how many seconds the batch that has hung longest does so, 0 if none does."""
        now = time.monotonic()
        versions = [*(one.served for one in list(self._open.values())), *list(self._closing)]
        return max((version.runs_for(now) - version.config.hang_seconds for version in versions), default=0.0)

    def _begin(self, opening: Callable[[], "_Shelved"]) -> "asyncio.Task[_Shelved]":
        """Begin to open a version. It belongs to nobody who asks for it: when they leave it goes on, as its thread does."""
        task = asyncio.ensure_future(self._in_turn(opening))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[_Shelved]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: those who asked may have left

    async def _in_turn(self, opening: Callable[[], "_Shelved"]) -> "_Shelved":
        """Open a version in a thread, when it is its turn, and put it on the shelf; raise NotOpened."""
        async with self._turn:
            try:
                version = await asyncio.to_thread(self._openings.run, opening)
            except CANNOT_SERVE as error:
                raise NotOpened(str(error)) from error
            self._put(version)
        return version

    def _opened(self, model: str, number: int, held: Held | None) -> "_Shelved":
        """Return a version as it is configured, or as somebody says who has been told of it; a new one if it is not open."""
        started = time.monotonic()
        servable, config = open_version(self._repository, model, number, self._policy)
        if held is not None:
            # Its files decide what it is. How it is served was read once, by whoever loaded it.
            config = held.config
            if servable.digest != held.digest:
                raise NotOpened(f"expected the digest {held.digest:.12}, found {servable.digest:.12} on this replica's disk")
        name = opened_from(servable.digest, config)
        known = self._open.get(f"{model}/{number}/{name}")
        if known is not None:
            return known
        check_queue(servable.signature, config)
        version = ServedVersion.open(servable, replace(config, queue_rows=_AMPLE_ROWS), self._tallies, self._lenders)
        log.info(
            "event=model_opened model=%s version=%d digest=%.12s seconds=%.3f",
            model, number, servable.digest, time.monotonic() - started,
        )  # fmt: skip
        return _Shelved(version, Opened(version.metadata, config, version.format, version.remark, name))

    def _put(self, version: "_Shelved") -> None:
        self._open[version.opened.held.key] = version
        while len(self._open) > self._most:
            _, oldest = self._open.popitem(last=False)
            self._close(oldest.served)

    def _close(self, version: ServedVersion) -> None:
        """Finish what a version has accepted, in a thread, and free it."""
        self._closing[version] = ending = threading.Thread(target=self._end, args=(version,), name="close", daemon=True)
        ending.start()

    def _end(self, version: ServedVersion) -> None:
        identity = version.identity
        if version.close(drain_seconds=version.config.timeout_seconds):
            del self._closing[version]
        else:
            log.error("event=drain_timeout model=%s version=%d", identity.model, identity.version)
        log.info("event=model_closed model=%s version=%d", identity.model, identity.version)


@dataclass(frozen=True, slots=True)
class _Shelved:
    """A version that is open, and what the edge is told of it."""

    served: ServedVersion
    opened: Opened

    def close(self, *, drain_seconds: float) -> None:
        """Free it: it was opened too late."""
        self.served.close(drain_seconds=drain_seconds)
