"""Versions that replicas hold, without a cluster: to whoever asks they are like any other, whatever becomes of replicas."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from models.tensors import Array
from serving.engine.base import State
from serving.errors import DeadlineExceeded, InvalidInput, ModelNotFound, ModelNotReady, Overloaded
from serving.request import InferRequest, InferResponse
from tests import toys
from tests.serving.engine.desks import Desks, Losing
from tests.serving.sessions import PATIENCE


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Desks]]:
    """Return an engine on replicas, with one toy model unless the test has published others."""
    begun: list[Desks] = []

    def start(*, config: str = "", **options: int) -> Desks:
        if not (tmp_path / "toy").exists():
            toys.publish(tmp_path)
        (tmp_path / "toy" / "config.toml").write_text(config)
        begun.append(Desks(tmp_path, **options))
        begun[-1].engine.load_all()
        return begun[-1]

    yield start
    for desks in begun:
        desks.before = None
        desks.close()


def asked(pixels: Array, *, model: str = "toy", **fields: object) -> InferRequest:
    return InferRequest(model, None, {"image": pixels}, **fields)  # type: ignore[arg-type]


def is_right(response: InferResponse, pixels: Array, seed: int = 0) -> bool:
    wanted = toys.reference(pixels, seed)
    near = np.allclose(response.outputs["probabilities"], wanted["probabilities"], atol=1e-5)
    return near and np.array_equal(response.outputs["class"], wanted["class"])


def test_every_request_gets_its_own_answer_and_is_counted_once(begin: Callable[..., Desks]) -> None:
    desks = begin(config="queue_rows = 1000\n")
    sent = [toys.images(1 + number % 3, seed=number) for number in range(60)]
    answers = [desks.engine.submit(asked(pixels, id=str(number))) for number, pixels in enumerate(sent)]
    for number, (pixels, answer) in enumerate(zip(sent, answers, strict=True)):
        response = answer.result(PATIENCE)
        assert is_right(response, pixels)
        assert (response.id, response.rows, response.model, response.version) == (str(number), len(pixels), "toy", 1)
        took = response.timings
        assert min(took.queue, took.join, took.run, took.split) >= 0
    (statistics,) = desks.engine.statistics("toy")
    assert statistics.inference_count == sum(map(len, sent))
    assert statistics.durations["queue"].count == len(sent)
    assert statistics.execution_count == sum(one.run.count for one in statistics.batches.values()) <= len(sent)


def test_what_waits_for_a_call_goes_together_and_no_more_than_a_batch(begin: Callable[..., Desks]) -> None:
    desks = begin()
    held = asyncio.Event()
    desks.calls, desks.before = 1, lambda _: held.wait()  # type: ignore[assignment, return-value]
    first = desks.engine.submit(asked(toys.images(1)))
    while not desks.parcels:
        time.sleep(0.001)
    others = [desks.engine.submit(asked(toys.images(1, seed=number))) for number in range(12)]
    desks.loop.call_soon_threadsafe(held.set)
    for number, answer in enumerate(others):
        assert is_right(answer.result(PATIENCE), toys.images(1, seed=number))
    assert is_right(first.result(PATIENCE), toys.images(1))
    assert [desks.requests(parcel) for parcel in desks.parcels] == [1, 8, 4]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_was_with_a_replica_that_ended_is_computed_by_another(begin: Callable[..., Desks], times: int) -> None:
    desks = begin()
    desks.before = losing = Losing(first=times)
    pixels = toys.images(2)
    assert is_right(desks.engine.submit(asked(pixels)).result(PATIENCE), pixels)
    assert losing.lost == times
    assert desks.engine.statistics("toy")[0].inference_count == 2


def test_after_so_many_replicas_it_is_503_with_the_time_to_come_back(begin: Callable[..., Desks]) -> None:
    desks = begin()
    desks.before = losing = Losing(first=1000)
    with pytest.raises(ModelNotReady, match="the replica that computed this has ended") as raised:
        desks.engine.submit(asked(toys.images(1))).result(PATIENCE)
    assert raised.value.retry_after_seconds == 1
    assert losing.lost == 4


def test_a_request_that_replicas_die_of_fails_alone(begin: Callable[..., Desks]) -> None:
    desks = begin()
    held = asyncio.Event()
    poison = np.full((1, 4, 4), 255, np.uint8)
    losing = Losing(disliked=lambda parcel: bytes([255] * 16) in parcel)

    async def before(parcel: bytes) -> None:
        await held.wait()
        await losing(parcel)

    desks.calls, desks.before = 1, before
    answers = [desks.engine.submit(asked(poison if number == 3 else toys.images(1, seed=number))) for number in range(6)]
    desks.loop.call_soon_threadsafe(held.set)
    for number, answer in enumerate(answers):
        if number == 3:
            with pytest.raises(ModelNotReady):
                answer.result(PATIENCE)
        else:
            assert is_right(answer.result(PATIENCE), toys.images(1, seed=number))


def test_what_nobody_waits_for_is_not_carried_and_a_call_of_nobody_is_cancelled(begin: Callable[..., Desks]) -> None:
    desks = begin()
    held, cancelled = asyncio.Event(), []

    async def before(_: bytes) -> None:
        try:
            await held.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    desks.calls, desks.before = 1, before
    carried = desks.engine.submit(asked(toys.images(1)))
    while not desks.parcels:
        time.sleep(0.001)
    waiting = desks.engine.submit(asked(toys.images(1)))
    assert waiting.cancel()
    assert carried.cancel()
    with pytest.raises(CancelledError):
        carried.result(0)
    desks.loop.call_soon_threadsafe(held.set)
    pixels = toys.images(2, seed=5)
    assert is_right(desks.engine.submit(asked(pixels)).result(PATIENCE), pixels)
    assert cancelled == [True]
    assert len(desks.parcels) == 2
    assert desks.engine.statistics("toy")[0].inference_count == 2


def test_more_than_the_queues_of_all_replicas_is_429_and_expired_is_504(begin: Callable[..., Desks]) -> None:
    desks = begin(config="queue_rows = 8\n")
    held = asyncio.Event()
    desks.calls, desks.before = 1, lambda _: held.wait()  # type: ignore[assignment, return-value]
    first = desks.engine.submit(asked(toys.images(1)))
    while not desks.parcels:
        time.sleep(0.001)
    late = desks.engine.submit(asked(toys.images(1), deadline=time.monotonic() + 0.001))
    waiting = [desks.engine.submit(asked(toys.images(5))) for _ in range(3)]
    with pytest.raises(Overloaded, match="the queue is full: 16 of 16 rows wait") as raised:
        desks.engine.submit(asked(toys.images(1)))
    assert raised.value.retry_after_seconds == 1
    with pytest.raises(DeadlineExceeded):
        desks.engine.submit(asked(toys.images(1), deadline=time.monotonic() - 1))
    time.sleep(0.002)
    desks.loop.call_soon_threadsafe(held.set)
    assert [len(answer.result(PATIENCE).outputs["class"]) for answer in (first, *waiting)] == [1, 5, 5, 5]
    with pytest.raises(DeadlineExceeded, match="while the request waited"):
        late.result(PATIENCE)


def test_once_it_is_known_what_batches_take_a_request_is_refused_for_its_deadline(begin: Callable[..., Desks]) -> None:
    desks = begin(config="queue_rows = 1000\n")
    desks.calls = 1
    # A replica says that its batches take a second each.
    slow, batches = desks.shelves, [shelf.batches for shelf in desks.shelves]
    for shelf, of in zip(slow, batches, strict=True):
        shelf.batches = lambda held, of=of: [(rows, queued, 0.0, 1.0, 0.0) for rows, queued, *_ in of(held)]  # type: ignore[method-assign, misc]
    for seed in range(8):
        desks.engine.submit(asked(toys.images(1, seed=seed))).result(PATIENCE)
    held = asyncio.Event()
    desks.before = lambda _: held.wait()  # type: ignore[assignment, return-value]
    carried = len(desks.parcels)
    waiting = [desks.engine.submit(asked(toys.images(8)))]
    while len(desks.parcels) == carried:
        time.sleep(0.001)
    waiting += [desks.engine.submit(asked(toys.images(8), deadline=time.monotonic() + PATIENCE)) for _ in range(3)]
    with pytest.raises(Overloaded, match="an answer would take"):
        desks.engine.submit(asked(toys.images(1), deadline=time.monotonic() + 0.5))
    desks.loop.call_soon_threadsafe(held.set)
    assert all(is_right(answer.result(PATIENCE), toys.images(8)) for answer in waiting)


def test_a_request_that_does_not_fit_is_refused_here(begin: Callable[..., Desks]) -> None:
    desks = begin()
    with pytest.raises(InvalidInput, match="image"):
        desks.engine.submit(asked(np.zeros((1, 3, 3), np.uint8)))
    with pytest.raises(InvalidInput, match="outputs: expected outputs among"):
        desks.engine.submit(asked(toys.images(1), outputs=("none",)))
    with pytest.raises(ModelNotFound):
        desks.engine.submit(asked(toys.images(1), model="none"))
    assert desks.parcels == []


def test_after_a_load_no_request_meets_the_old_version_and_none_is_lost(begin: Callable[..., Desks], tmp_path: Path) -> None:
    desks = begin()
    for seed in (1, 2, 3):
        before = [desks.engine.submit(asked(toys.images(1, seed=number))) for number in range(20)]
        toys.publish(tmp_path, seed=seed)
        desks.engine.management.load("toy").result(PATIENCE)
        pixels = toys.images(3)
        response = desks.engine.submit(asked(pixels)).result(PATIENCE)
        assert response.version == seed + 1
        assert is_right(response, pixels, seed)
        for number, answer in enumerate(before):
            met = answer.result(PATIENCE)
            assert is_right(met, toys.images(1, seed=number), met.version - 1)
    assert [key.split("/")[1] for key in desks.gone] == ["1", "2", "3"]


def test_the_same_again_is_the_same_and_another_configuration_is_not(begin: Callable[..., Desks], tmp_path: Path) -> None:
    desks = begin()
    desks.engine.management.load("toy").result(PATIENCE)
    assert desks.gone == []
    (tmp_path / "toy" / "config.toml").write_text("timeout_seconds = 3\n")
    desks.engine.management.load("toy").result(PATIENCE)
    assert len(desks.gone) == 1
    assert desks.engine.config("toy").timeout_seconds == 3
    pixels = toys.images(3)
    for _ in range(4):
        assert is_right(desks.engine.submit(asked(pixels)).result(PATIENCE), pixels)


def test_a_spoiled_version_is_refused_and_the_old_one_serves_on(begin: Callable[..., Desks], tmp_path: Path) -> None:
    desks = begin()
    toys.publish(tmp_path, seed=1, golden=toys.reference(toys.images(8, seed=99), seed=2))
    with pytest.raises(ModelNotReady, match="version 1 serves on"):
        desks.engine.management.load("toy").result(PATIENCE)
    assert [(one.version, one.state) for one in desks.engine.index()] == [(1, State.READY), (2, State.UNAVAILABLE)]
    assert is_right(desks.engine.submit(asked(toys.images(1))).result(PATIENCE), toys.images(1))


def test_an_unloaded_model_is_gone_and_its_requests_were_answered(begin: Callable[..., Desks]) -> None:
    desks = begin()
    answers = [desks.engine.submit(asked(toys.images(1, seed=number))) for number in range(20)]
    desks.engine.management.unload("toy").result(PATIENCE)
    for number, answer in enumerate(answers):
        assert is_right(answer.result(0), toys.images(1, seed=number))
    with pytest.raises(ModelNotReady, match="unloaded"):
        desks.engine.submit(asked(toys.images(1)))


def test_more_models_than_a_replica_holds_are_all_answered(begin: Callable[..., Desks], tmp_path: Path) -> None:
    for number in range(5):
        toys.publish(tmp_path, f"toy{number}", seed=number)
        (tmp_path / f"toy{number}" / "config.toml").write_text("timeout_seconds = 60\n")
    desks = begin(most=2)
    sent = [(number % 5, toys.images(1, seed=number)) for number in range(40)]
    answers = [desks.engine.submit(asked(pixels, model=f"toy{seed}")) for seed, pixels in sent]
    for (seed, pixels), answer in zip(sent, answers, strict=True):
        assert is_right(answer.result(PATIENCE), pixels, seed)
    assert all(len(shelf.keys()) <= 2 for shelf in desks.shelves)


def test_a_replica_answers_with_no_other_version_than_it_is_asked_for(begin: Callable[..., Desks], tmp_path: Path) -> None:
    desks = begin()
    for shelf in desks.shelves:
        desks.run(_forget(shelf))
    # Somebody exchanges the files of a version that is published, behind the server's back.
    other = toys.publish(tmp_path / "other", seed=7)
    for file in other.path.iterdir():
        (tmp_path / "toy" / "1" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelNotReady, match="expected the digest"):
        desks.engine.submit(asked(toys.images(1))).result(PATIENCE)


async def _forget(shelf: object) -> None:
    shelf.keep(())  # type: ignore[attr-defined]
