"""The versions that are served, and the replicas of a cluster that hold them: who is told what, and when.

This file knows no cluster. It is given calls (ray_calls.py), and told how many replicas run; it finds versions, has them
held everywhere before the first request comes, and closed when nobody asks any more, whatever becomes of replicas.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from serving.engine import parcels
from serving.engine.held import HeldVersion, Lost
from serving.engine.opener import NotOpened
from serving.engine.version import Version
from serving.errors import ModelNotReady
from serving.metrics import Metrics

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Calls of one version under way, for each replica: one that is computed, and one that is on its way. With more of them
#: each would carry fewer requests, and cost as much.
_CALLS = 2
#: So many replicas may end while they open a version: one may have been about to end, three mean that it is the version.
_OPENINGS = 3
_PAUSE_SECONDS = 1.0
#: So often in a row a replica has to lack what another one has before it is replaced: files may be on their way there.
_LACKS = 3
_KEEP_SECONDS = 10.0


class Calls(Protocol):
    """Calls of replicas. Cancelled, so is the call."""

    async def infer(self, key: str, parcel: bytes, *, crowded: bool) -> bytes:
        """Have one replica answer a parcel, where it is crowded one that has the version; raise Lost."""
        ...

    async def open(self, model: str, number: int) -> bytes:
        """Have one replica open a version; raise Lost."""
        ...

    async def everywhere(self, method: str, *words: object, seconds: float) -> list[Any]:
        """Call a method of every replica and return what each says, or Lost; raise TimeoutError, or what went wrong."""
        ...


class Replicas:
    """Replicas, each with at most `models` versions open. Carries parcels to them (see held.Carrier)."""

    def __init__(
        self,
        calls: Calls,
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
        *,
        least: int,
        most: int,
        models: int,
        opening_seconds: float,
    ) -> None:
        """Between `least` and `most` there are; `opening_seconds`: what a version may take to be opened by all of them."""
        self.loop = loop
        self._calls = calls
        self._metrics = metrics
        self._most = most
        self._models = models
        self._opening_seconds = opening_seconds
        self._held: dict[str, HeldVersion] = {}
        self._lock = threading.Lock()
        self._running = least
        #: How often in a row a replica lacked something.
        self._lacks = 0
        self._stopped = False

    def open(self, model: str, number: int, served: Version | None) -> Version:
        """Open a version in replicas; raise NotOpened, or what a fault of ours raises. Blocks, not on the loop."""
        end = time.monotonic() + self._opening_seconds
        try:
            opened = self._wait(self._find(model, number), end)
        except ModelNotReady as error:
            raise NotOpened(str(error)) from error
        if served is not None and served.opened_from == opened.opened_from:
            return served
        version = HeldVersion(opened, self, self._metrics, queues=self._most, verified=opened.metadata.verified)
        # Before they are asked to open it: who is told meanwhile what to keep must not close it again.
        with self._lock:
            self._held[version.held.key] = version
            fits = len(self._held) <= self._models
        try:
            # All of them are to have it when the first request comes. One that is not there now is told once it is.
            if fits and (problem := self._wait(self._hold([version]), end)):
                raise NotOpened(problem)
        except BaseException:
            self.let_go(version)
            raise
        return version

    def slots(self) -> int:
        """Return how many calls of one version may be under way."""
        return _CALLS * max(1, self._running)

    async def carry(self, key: str, parcel: bytes) -> bytes:
        """Give a parcel to a replica and return what it answers; raise Lost."""
        return await self._calls.infer(key, parcel, crowded=len(self._held) > self._models)

    def let_go(self, version: HeldVersion) -> None:
        """Let replicas close a version that nobody asks for any more."""
        with self._lock:
            if self._held.get(version.held.key) is version:
                del self._held[version.held.key]
        if not self._stopped:
            asyncio.run_coroutine_threadsafe(self._keep(), self.loop)

    def stop(self) -> None:
        """Tell replicas nothing any more: they are about to end."""
        self._stopped = True

    async def look(self, running: int) -> None:
        """Take note of how many replicas run. New ones are told what is served; one that cannot serve it is replaced."""
        if running == self._running and not self._lacks:
            return
        if running != self._running:
            log.info("event=replicas running=%d", running)
        self._running = running
        await self._keep()
        with self._lock:
            held = list(self._held.values())
        if not held or len(held) > self._models:
            self._lacks = 0
            return
        said = await self._told("hold", b"".join(version.held.frame for version in held), seconds=self._opening_seconds)
        problems = [one for one in said if isinstance(one, str) and one]
        self._lacks = self._lacks + 1 if problems else 0
        if self._lacks >= _LACKS and "" in said:
            log.warning("event=replica_lacks reason=%r", problems[0])
            await self._told("leave_if_lacking", seconds=_KEEP_SECONDS)

    async def _find(self, model: str, number: int) -> parcels.Opened:
        """Have a version opened by one replica; another one where it ends meanwhile."""
        reason = ""
        for _ in range(_OPENINGS):
            try:
                return parcels.opened_of(await self._calls.open(model, number))
            except Lost as error:
                reason = str(error)
            await asyncio.sleep(_PAUSE_SECONDS)
        raise NotOpened(f"the replicas that open it end, {_OPENINGS} of {_OPENINGS} have ({reason}); out of memory?")

    async def _hold(self, versions: Sequence[HeldVersion]) -> str:
        """Have versions opened by every replica; return why one could not, nothing where all could that are still there."""
        parcel = b"".join(version.held.frame for version in versions)
        said = await self._calls.everywhere("hold", parcel, seconds=self._opening_seconds)
        if said and all(isinstance(one, Lost) for one in said):
            return "the replicas that open it end; out of memory?"
        return next((str(one) for one in said if one and not isinstance(one, Lost)), "")

    async def _keep(self) -> None:
        """Let every replica close what is not served any more."""
        await self._told("keep", list(self._held), seconds=_KEEP_SECONDS)

    async def _told(self, method: str, *words: object, seconds: float) -> list[Any]:
        """Tell every replica something that they will be told again where it does not arrive."""
        try:
            return await self._calls.everywhere(method, *words, seconds=seconds)
        except Exception as error:  # noqa: BLE001 - a cluster may raise anything, and who follows it must go on
            log.info("event=broadcast_lost method=%s reason=%r", method, type(error).__name__)
            return []

    def _wait(self, doing: Coroutine[Any, Any, T], end: float) -> T:
        """Return what comes of something on the loop; raise NotOpened once its time is over, and let it end."""
        future = asyncio.run_coroutine_threadsafe(doing, self.loop)
        try:
            return future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise NotOpened(f"replicas take more than {self._opening_seconds:g} s to open it") from None
