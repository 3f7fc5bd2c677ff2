"""A replica of the application that ray.py deploys: a shelf of versions, and a desk where parcels are answered.

Ray starts it in a process of its own, on whatever machine has room, with Sameway and the model repository there. It routes
calls to those replicas that say they have the model (multiplexing), and replaces one whose health is not well.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from ray import serve

from models.repository import Repository
from models.signing import Trust, trusted_keys
from serving.engine.desk import Desk
from serving.engine.finding import UnverifiedPolicy
from serving.engine.shelf import Shelf

#: As a process of several writes it; Ray puts in front whose line it is.
_LOG = "time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"


class Replica:
    """What Ray makes of it is one actor; every method is called on one event loop of its own."""

    def __init__(self, told: dict[str, Any]) -> None:  # Any: JSON, settings of the edge
        """Open what is to be served, if it all fits; raise SigningError."""
        logging.basicConfig(level=told["log_level"].upper(), format=_LOG)
        trust = (
            None
            if told["trusted_keys"] is None
            else Trust(trusted_keys(Path(told["trusted_keys"])), required=told["signed"])
        )
        self._hang_exit_seconds = told["hang_exit_seconds"]
        self._shelf = Shelf(
            Repository(Path(told["repository"]), trust=trust),
            policy=UnverifiedPolicy(require_manifest=told["manifest"], torchscript=told["torchscript"]),
            models=told["models"],
            most=told["most"],
            seconds=told["opening_seconds"],
        )
        self._desk = Desk(self._shelf)
        self._lent = False
        self._lacking: list[str] = []
        self._owner: str = told["owner"]

        # Ray's own shelf of the same size: it holds nothing, and is how its routers learn what is on ours.
        async def announce(key: str) -> str:
            return key

        self._announce = serve.multiplexed(max_num_models_per_replica=told["most"])(announce)
        self._shelf.open_all()

    async def infer(self, key: str, parcel: bytes) -> bytes:
        """Answer a parcel of requests for one version."""
        if not self._lent:
            self._shelf.lend(asyncio.get_running_loop().call_soon)
            self._lent = True
        await self._announce(key)
        return await self._desk.answer(parcel)

    async def open(self, model: str, number: int) -> bytes:
        """Open a version as it lies in the repository, and tell what it is."""
        return await self._desk.open(model, number)

    async def hold(self, parcel: bytes) -> str:
        """Open versions that are about to be asked for; return why one cannot be, nothing where all could."""
        return await self._desk.hold(parcel)

    async def keep(self, keys: list[str]) -> None:
        """Close all versions but these."""
        self._shelf.keep(keys)

    async def whose(self) -> str:
        """Return who has deployed this: where two servers have one name, only the replicas tell which of them it is."""
        return self._owner

    async def leave_if_lacking(self) -> None:
        """Another replica has all that is served: if this one cannot open it, let Ray replace it."""
        self._lacking = self._shelf.failing()

    def check_health(self) -> None:
        """Raise where a batch hangs for good, or others can serve what this cannot: Ray then replaces this replica."""
        if (seconds := self._shelf.hangs_for()) > self._hang_exit_seconds:
            raise RuntimeError(f"a batch hangs, {seconds:.1f} s longer than its model allows")
        if self._lacking:
            raise RuntimeError(f"other replicas can open what this one cannot: {', '.join(self._lacking)}")
