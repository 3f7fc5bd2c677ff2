"""What a replica has open: each version once, closed when it is not wanted, whoever has left meanwhile."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.repository import Repository
from serving import counters
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.parcels import Held
from serving.engine.served import ServedVersion
from serving.engine.shelf import Shelf
from tests import toys
from tests.serving.sessions import PATIENCE


class Lives:
    """What was opened and what was closed; an opening waits until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.opened: list[ServedVersion] = []
        self.closed: list[ServedVersion] = []
        self.may = threading.Event()
        self.at_once = self.most_at_once = 0
        open_, close = ServedVersion.open, ServedVersion.close

        def found(*words: object) -> object:
            self.begun += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                assert self.may.wait(PATIENCE)
                return open_version(*words)  # type: ignore[arg-type]
            finally:
                self.at_once -= 1

        def opened(*words: object) -> ServedVersion:
            self.opened.append(open_(*words))  # type: ignore[arg-type]
            return self.opened[-1]

        def closed(version: ServedVersion, *, drain_seconds: float) -> bool:
            self.closed.append(version)
            return close(version, drain_seconds=drain_seconds)

        monkeypatch.setattr("serving.engine.shelf.open_version", found)
        monkeypatch.setattr(ServedVersion, "open", opened)
        monkeypatch.setattr(ServedVersion, "close", closed)


def a_shelf(root: Path, *, most: int = 8) -> Shelf:
    return Shelf(Repository(root), policy=UnverifiedPolicy(), models=None, most=most, seconds=PATIENCE)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.001)


async def all_closed(shelf: Shelf) -> None:
    shelf.keep(())
    await asyncio.to_thread(shelf.wait, PATIENCE)


def test_a_version_whose_askers_leave_while_it_is_opened_is_opened_once_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.publish(tmp_path)

    async def leave() -> None:
        shelf = a_shelf(tmp_path)
        held = (await shelf.find("toy", 1)).held
        await all_closed(shelf)
        lives.may.clear()
        lives.begun = 0
        for _ in range(6):
            asking = asyncio.create_task(shelf.hold(held))
            await until(lambda: lives.begun == 1)
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        looking = asyncio.create_task(shelf.find("toy", 1))
        await asyncio.sleep(0)
        looking.cancel()
        stays = asyncio.create_task(shelf.hold(held))
        lives.may.set()
        assert await stays is lives.opened[-1]
        await until(lambda: lives.begun == 2 and not lives.at_once)
        await until(lambda: not shelf._tasks)
        assert shelf.keys() == [held.key]
        await all_closed(shelf)

    lives = Lives(monkeypatch)
    lives.may.set()
    asyncio.run(leave())
    assert len(lives.opened) == 2
    assert set(lives.closed) == set(lives.opened)
    assert lives.most_at_once == 1


def test_more_versions_than_there_are_blocks_can_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "BLOCKS", 3)
    for number in range(6):
        toys.publish(tmp_path, f"toy{number}", seed=number)

    async def follow() -> None:
        shelf = a_shelf(tmp_path, most=1)
        for number in range(6):
            found: Held = (await shelf.find(f"toy{number}", 1)).held
            assert shelf.keys() == [found.key]
        await all_closed(shelf)

    asyncio.run(follow())
