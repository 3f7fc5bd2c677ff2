"""An instance whose session works beside it: two batches under way, and every answer its owner's."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.tensors import Array, Tensors
from serving.backends.base import DeviceLost
from serving.engine.answer import Answer
from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.engine.instance import Identity
from serving.engine.pipelined import PipelinedInstance
from serving.errors import InferenceFailed, ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest, InferResponse
from tests.serving.sessions import PATIENCE, SIGNATURE, double, rows

BATCH_ROWS = 2
POISON_AT_BEGIN, POISON_AT_END, LOST = 13.0, 17.0, 99.0


class Device:
    """Doubles, in order, once it is let; fails for some values, at the beginning or at the end."""

    depth = 2
    buckets: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.under_way: deque[Array] = deque()
        self.may_end = threading.Event()
        self.may_end.set()
        self.ends = threading.Event()

    def allocate(self, _name: str, shape: tuple[int, ...]) -> Array:
        assert len(self.under_way) < self.depth
        return np.empty(shape, np.float32)

    def begin(self, inputs: Tensors) -> None:
        assert len(self.under_way) < self.depth
        self.calls.append("begin")
        if np.any(inputs["x"] == LOST):
            raise DeviceLost("gone")
        if np.any(inputs["x"] == POISON_AT_BEGIN):
            raise ValueError("poison")
        self.under_way.append(inputs["x"].copy())

    def end(self) -> Tensors:
        self.ends.set()
        assert self.may_end.wait(PATIENCE)
        x = self.under_way.popleft()
        self.calls.append("end")
        if np.any(x == POISON_AT_END):
            raise ValueError("poison")
        return double({"x": x})

    def run(self, inputs: Tensors) -> Tensors:
        assert not self.under_way
        self.begin(inputs)
        return self.end()

    def close(self) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        self.device = Device()
        self.batcher = Batcher(batch_rows=BATCH_ROWS, queue_rows=1000)
        series = Metrics().of_version("model", 1)
        self.instance = PipelinedInstance(
            Identity("model", 1, "0" * 64, SIGNATURE), self.device, self.batcher, series=series, number=0
        )

    def ask(self, *numbers: float) -> Answer[InferResponse]:
        request = InferRequest("model", 1, {"x": rows(*numbers)})
        entry = Entry(request, rows=len(numbers), shape=(), deadline=time.monotonic() + PATIENCE)
        self.batcher.put(entry)
        return entry.future

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.device.may_end.set()
    one.batcher.close()
    assert one.instance.join(PATIENCE)


def first(answer: Answer[InferResponse]) -> float:
    return float(answer.result(PATIENCE).outputs["y"][0, 0])


def test_a_lone_batch_begins_and_ends(bench: Bench) -> None:
    bench.instance.start()
    assert first(bench.ask(3)) == 6
    assert bench.device.calls == ["begin", "end"]


def test_the_next_full_batch_begins_while_one_is_computed(bench: Bench) -> None:
    answers = [bench.ask(number) for number in range(6)]
    bench.device.may_end.clear()
    bench.instance.start()
    assert bench.device.ends.wait(PATIENCE)
    assert bench.device.calls == ["begin", "begin"]
    bench.device.may_end.set()
    assert [first(answer) for answer in answers] == [2 * number for number in range(6)]
    assert bench.device.calls.count("begin") == 3


def test_one_that_is_not_full_waits_here_for_company(bench: Bench) -> None:
    answers = [bench.ask(number) for number in range(3)]
    bench.device.may_end.clear()
    bench.instance.start()
    assert bench.device.ends.wait(PATIENCE)
    assert bench.device.calls == ["begin"]
    answers.append(bench.ask(3))
    bench.device.may_end.set()
    assert [first(answer) for answer in answers] == [0, 2, 4, 6]
    assert bench.device.calls == ["begin", "end", "begin", "end"]


@pytest.mark.parametrize("poison", [POISON_AT_BEGIN, POISON_AT_END])
def test_whoever_makes_a_batch_fail_fails_alone(bench: Bench, poison: float) -> None:
    numbers = [1, 2, 3, poison, 5, 6, 7, 8]
    answers = [bench.ask(number) for number in numbers]
    bench.instance.start()
    for number, answer in zip(numbers, answers, strict=True):
        if number == poison:
            assert isinstance(answer.exception(PATIENCE), InferenceFailed)
        else:
            assert first(answer) == 2 * number
    assert not bench.device.under_way


def test_one_that_hangs_is_seen_and_all_under_way_can_be_given_up(bench: Bench) -> None:
    answers = [bench.ask(number) for number in range(4)]
    bench.device.may_end.clear()
    bench.instance.start()
    bench.until(lambda: bench.instance.runs_for(time.monotonic()) > 0.01)
    bench.instance.abandon(ModelNotReady("gone"))
    assert all(isinstance(answer.exception(PATIENCE), ModelNotReady) for answer in answers)
    bench.device.may_end.set()
    assert first(bench.ask(9)) == 18


def test_a_device_that_is_lost_is_said_to_be_so(bench: Bench) -> None:
    bench.instance.start()
    answers = [bench.ask(LOST), bench.ask(1)]
    assert any(isinstance(answer.exception(PATIENCE), InferenceFailed) for answer in answers)
    assert bench.instance.lost


def test_times_of_batches_that_overlap_are_not_counted_twice(bench: Bench) -> None:
    began = time.monotonic()
    answers = [bench.ask(200 + number) for number in range(200)]
    bench.instance.start()
    runs = [answer.result(PATIENCE).timings.run for answer in answers]
    assert sum(runs) / BATCH_ROWS <= time.monotonic() - began
    assert all(answer.result(0).timings.queue >= 0 for answer in answers)
    assert not math.isnan(sum(runs))
