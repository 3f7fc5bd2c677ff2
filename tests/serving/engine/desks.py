"""Replicas without a cluster: desks in this process, and a carrier that takes parcels to one after the other."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from models.repository import Repository
from serving.engine import parcels
from serving.engine.desk import Desk
from serving.engine.finding import UnverifiedPolicy
from serving.engine.held import HeldVersion, Lost
from serving.engine.local import LocalEngine
from serving.engine.opener import NotOpened
from serving.engine.shelf import Shelf
from serving.engine.version import Version
from serving.errors import ModelNotReady
from serving.metrics import Metrics
from tests.serving.sessions import PATIENCE


class Desks:
    """So many replicas, each of which has so many versions open at most."""

    def __init__(self, root: Path, *, count: int = 2, most: int = 8) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        policy = UnverifiedPolicy()
        self.shelves = [
            Shelf(Repository(root), policy=policy, models=None, most=most, seconds=PATIENCE) for _ in range(count)
        ]
        self._desks = [Desk(shelf) for shelf in self.shelves]
        self._turn = itertools.cycle(self._desks)
        self.metrics = Metrics()
        self.engine = LocalEngine(Repository(root), self.metrics, opener=self._open)
        #: Parcels that were carried; what may happen to one before it is; the calls there may be at once; who was let go.
        self.parcels: list[bytes] = []
        self.before: Callable[[bytes], Coroutine[Any, Any, None]] | None = None
        self.calls = 8
        self.gone: list[str] = []

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        """Do something on the loop, and return what comes of it."""
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(PATIENCE)

    def slots(self) -> int:
        return self.calls

    async def carry(self, key: str, parcel: bytes) -> bytes:
        self.parcels.append(parcel)
        desk = next(self._turn)
        if self.before is not None:
            await self.before(parcel)
        return await desk.answer(parcel)

    def let_go(self, version: HeldVersion) -> None:
        self.gone.append(version.held.key)

    def requests(self, parcel: bytes) -> int:
        """Return how many requests a parcel holds."""
        return len(parcels.requests_of(parcel, 0.0)[1])

    def close(self) -> None:
        """End all."""
        self.engine.close(drain_seconds=PATIENCE)
        for shelf in self.shelves:
            self.run(_closed(shelf))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    def _open(self, model: str, number: int, served: Version | None) -> Version:
        try:
            opened = parcels.opened_of(self.run(self._desks[0].open(model, number)))
        except ModelNotReady as error:
            raise NotOpened(str(error)) from error
        if served is not None and served.opened_from == opened.opened_from:
            return served
        return HeldVersion(opened, self, self.metrics, queues=2, verified=True)


class Losing:
    """Loses calls: the first so many, or those whose parcel somebody does not like."""

    def __init__(self, *, first: int = 0, disliked: Callable[[bytes], bool] = lambda _: False) -> None:
        self.lost = 0
        self._first = first
        self._disliked = disliked

    async def __call__(self, parcel: bytes) -> None:
        if self.lost < self._first or self._disliked(parcel):
            self.lost += 1
            raise Lost("it has ended")


async def _closed(shelf: Shelf) -> None:
    shelf.keep(())
    await asyncio.to_thread(shelf.wait, PATIENCE)
