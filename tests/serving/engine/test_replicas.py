"""What replicas of a cluster are told, without a cluster: desks in this process that die, refuse, come and go."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.repository import Repository
from serving.engine.desk import Desk
from serving.engine.finding import UnverifiedPolicy
from serving.engine.held import Lost
from serving.engine.local import LocalEngine
from serving.engine.replicas import Replicas
from serving.engine.shelf import Shelf
from serving.errors import ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest
from tests import toys
from tests.serving.engine.loops import Loop
from tests.serving.sessions import PATIENCE

_MODELS = 4


class One:
    """One replica: a shelf and a desk, as ray_replica.py has them."""

    def __init__(self, root: Path) -> None:
        self.shelf = Shelf(Repository(root), policy=UnverifiedPolicy(), models=None, most=_MODELS, seconds=PATIENCE)
        self.desk = Desk(self.shelf)
        self.dead = False
        self.lacking: list[str] = []

    async def told(self, method: str, *words: Any) -> Any:
        if self.dead:
            return Lost("it has ended")
        if method == "hold":
            return await self.desk.hold(*words)
        if method == "keep":
            return self.shelf.keep(*words)
        assert method == "leave_if_lacking"
        self.lacking = self.shelf.failing()
        return None

    def numbers(self) -> list[int]:
        """Return the versions of the toy that are open."""
        return sorted(int(key.split("/")[1]) for key in list(self.shelf.keys()))


class Several:
    """Calls of so many replicas. The first one opens; `deaths` counts those that ended of it."""

    def __init__(self, ones: list[One]) -> None:
        self.ones = ones
        self.deadly = 1000
        self.deaths = 0
        self.hangs: asyncio.Event | None = None
        self.before_hold: Callable[[], Any] | None = None
        self.told: list[str] = []

    async def infer(self, key: str, parcel: bytes, *, crowded: bool) -> bytes:
        return await self.ones[-1].desk.answer(parcel)

    async def open(self, model: str, number: int) -> bytes:
        if number >= self.deadly:
            self.deaths += 1
            raise Lost("RayActorError")
        if self.hangs is not None:
            try:
                await asyncio.Event().wait()
            finally:
                self.hangs.set()
        return await self.ones[0].desk.open(model, number)

    async def everywhere(self, method: str, *words: object, seconds: float) -> list[Any]:
        self.told.append(method)
        said = [await one.told(method, *words) for one in self.ones]
        if method == "hold" and self.before_hold is not None:
            await self.before_hold()
        return said


class Setting:
    """An engine on replicas that are told as a cluster's are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loop = Loop()
        self.calls = Several([One(root), One(root)])
        metrics = Metrics()
        self.replicas = Replicas(
            self.calls, self.loop.loop, metrics, least=2, most=2, models=_MODELS, opening_seconds=PATIENCE
        )
        self.engine = LocalEngine(Repository(root), metrics, opener=self.replicas.open)
        self.engine.load_all()

    def load(self) -> None:
        self.engine.management.load("toy").result(PATIENCE)

    def look(self, running: int | None = None) -> None:
        self.loop.run(self.replicas.look(len(self.calls.ones) if running is None else running))

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.002)

    def close(self) -> None:
        self.engine.close(drain_seconds=PATIENCE)
        for one in self.calls.ones:
            self.loop.run(_emptied(one.shelf))
        self.loop.close()


async def _emptied(shelf: Shelf) -> None:
    shelf.keep(())
    await asyncio.to_thread(shelf.wait, PATIENCE)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Setting]]:
    """Return two replicas that hold version 1 of a toy."""
    begun: list[Setting] = []

    def start() -> Setting:
        toys.publish(tmp_path)
        (tmp_path / "toy" / "config.toml").write_text("")
        begun.append(Setting(tmp_path))
        return begun[-1]

    yield start
    for setting in begun:
        setting.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.engine.replicas._PAUSE_SECONDS", 0.0)


def test_a_version_is_open_everywhere_before_the_first_request_and_the_old_one_is_closed(
    begin: Callable[..., Setting],
) -> None:
    setting = begin()
    assert [one.numbers() for one in setting.calls.ones] == [[1], [1]]
    toys.publish(setting.root, seed=1)
    setting.load()
    setting.until(lambda: [one.numbers() for one in setting.calls.ones] == [[2], [2]])
    pixels = toys.images(2)
    answer = setting.engine.submit(InferRequest("toy", None, {"image": pixels})).result(PATIENCE)
    np.testing.assert_allclose(answer.outputs["probabilities"], toys.reference(pixels, 1)["probabilities"], atol=1e-5)


def test_a_version_that_ends_whoever_opens_it_is_refused_after_three(begin: Callable[..., Setting]) -> None:
    setting = begin()
    setting.calls.deadly = 2
    toys.publish(setting.root, seed=1)
    with pytest.raises(ModelNotReady, match=r"the replicas that open it end, 3 of 3 have .*; out of memory"):
        setting.load()
    assert setting.calls.deaths == 3
    assert setting.engine.metadata("toy").version == 1


def test_a_version_that_takes_too_long_is_given_up_and_its_call_is_cancelled(begin: Callable[..., Setting]) -> None:
    setting = begin()
    setting.replicas._opening_seconds = 0.2  # now that one is open
    toys.publish(setting.root, seed=1)
    setting.calls.hangs = given_up = asyncio.Event()
    with pytest.raises(ModelNotReady, match=r"more than 0\.2 s"):
        setting.load()
    setting.until(given_up.is_set)


def test_a_version_that_one_replica_cannot_open_is_closed_by_those_that_could(begin: Callable[..., Setting]) -> None:
    setting = begin()
    stale = setting.root.parent / f"{setting.root.name}-stale"
    toys.publish(stale)
    setting.calls.ones[1].shelf._repository = Repository(stale)
    toys.publish(setting.root, seed=1)
    with pytest.raises(ModelNotReady, match="version 1 serves on"):
        setting.load()
    setting.until(lambda: [one.numbers() for one in setting.calls.ones] == [[1], [1]])


def test_a_replica_that_ends_meanwhile_does_not_count_but_one_that_refuses_beside_it_does(
    begin: Callable[..., Setting],
) -> None:
    setting = begin()
    stale = setting.root.parent / f"{setting.root.name}-stale"
    toys.publish(stale)
    ended, refuses = One(setting.root), One(stale)
    ended.dead = True
    setting.calls.ones.insert(1, ended)
    toys.publish(setting.root, seed=1)
    setting.load()
    assert setting.engine.metadata("toy").version == 2
    setting.calls.ones.append(refuses)
    toys.publish(setting.root, seed=2)
    with pytest.raises(ModelNotReady, match="version 2 serves on"):
        setting.load()


def test_who_is_told_what_to_keep_while_a_version_is_opened_keeps_it(begin: Callable[..., Setting]) -> None:
    setting = begin()
    toys.publish(setting.root, seed=1)
    held: list[list[int]] = []

    async def a_replica_goes() -> None:
        setting.calls.before_hold = None
        await setting.replicas._keep()
        held.extend(one.numbers() for one in setting.calls.ones)

    setting.calls.before_hold = a_replica_goes
    setting.load()
    assert held == [[1, 2], [1, 2]]


def test_a_new_replica_is_told_what_is_served(begin: Callable[..., Setting]) -> None:
    setting = begin()
    setting.calls.ones.append(One(setting.root))
    setting.look()
    assert setting.calls.ones[2].numbers() == [1]
    told = len(setting.calls.told)
    setting.look()
    assert len(setting.calls.told) == told


def test_a_replica_that_lacks_what_others_have_is_replaced_and_no_other(begin: Callable[..., Setting]) -> None:
    setting = begin()
    empty = setting.root.parent / f"{setting.root.name}-empty"
    empty.mkdir()
    setting.calls.ones.append(One(empty))
    for _ in range(2):
        setting.look()
    assert "leave_if_lacking" not in setting.calls.told
    setting.look()
    assert [len(one.lacking) for one in setting.calls.ones] == [0, 0, 1]


def test_where_every_replica_lacks_something_none_is_replaced(begin: Callable[..., Setting]) -> None:
    setting = begin()
    empty = setting.root.parent / f"{setting.root.name}-empty"
    empty.mkdir()
    whole, setting.calls.ones = setting.calls.ones, [One(empty), One(empty), One(empty)]
    for _ in range(5):
        setting.look()
    assert "leave_if_lacking" not in setting.calls.told
    setting.calls.ones += whole


def test_a_broadcast_that_fails_does_not_end_whoever_follows_the_replicas(begin: Callable[..., Setting]) -> None:
    setting = begin()
    everywhere = setting.calls.everywhere

    async def failing(method: str, *words: object, seconds: float) -> list[Any]:
        raise OSError("the controller is away")

    setting.calls.everywhere = failing  # type: ignore[method-assign]
    setting.look(running=1)
    assert setting.replicas.slots() == 2
    setting.calls.everywhere = everywhere  # type: ignore[method-assign]
    setting.look(running=2)
    assert setting.replicas.slots() == 4
