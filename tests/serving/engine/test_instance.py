import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.tensors import Tensors
from serving.engine.batcher import Batcher
from serving.engine.entry import Entry
from serving.engine.instance import Identity, Instance
from serving.errors import DeadlineExceeded, InferenceFailed, ModelNotReady, ServingError
from serving.metrics import Metrics
from serving.request import InferRequest
from tests.serving.sessions import PATIENCE, SIGNATURE, FakeSession, Gate, double, rows


class Bench:
    """One instance around a session, its waiting room and its metrics."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.metrics = Metrics()
        self.room = Batcher(batch_rows=8, queue_rows=1_000)
        identity = Identity("toy", 3, "d" * 64, SIGNATURE)
        series = self.metrics.of_version("toy", 3)
        series.tell(format="onnx", digest="d" * 64, verified=True)
        self.instance = Instance(identity, session, self.room, series=series, number=0)
        self.instance.start()

    def ask(self, *numbers: float, outputs: tuple[str, ...] | None = None, id: str | None = None) -> Entry:
        inputs = {"x": rows(*numbers)}
        request = InferRequest("toy", 3, inputs, outputs=outputs, id=id)
        entry = Entry(request, rows=len(numbers), shape=(), deadline=time.monotonic() + PATIENCE)
        self.room.put(entry)
        return entry

    def stop(self) -> bool:
        self.room.close()
        return self.instance.join(PATIENCE)


Start = Callable[[FakeSession], Bench]


@pytest.fixture
def start() -> Iterator[Start]:
    benches: list[Bench] = []

    def begin(session: FakeSession) -> Bench:
        benches.append(Bench(session))
        return benches[-1]

    yield begin
    for bench in benches:
        if isinstance(bench.session, Gate):
            bench.session.opened.set()
        assert bench.stop()


def answer(entry: Entry) -> list[list[float]]:
    found: list[list[float]] = entry.future.result(PATIENCE).outputs["y"].tolist()
    return found


def test_an_answer_is_its_request_s_own_and_names_the_version(start: Start) -> None:
    entry = start(FakeSession()).ask(1, 2, id="abc")
    response = entry.future.result(PATIENCE)
    assert response.outputs["y"].tolist() == [[2, -2], [4, -4]]
    assert (response.model, response.version, response.digest, response.id) == ("toy", 3, "d" * 64, "abc")
    assert min(response.timings.queue, response.timings.join, response.timings.run, response.timings.split) >= 0


def test_what_gathers_while_the_session_is_busy_runs_as_one_batch(start: Start) -> None:
    gate = Gate()
    bench = start(gate)
    first = bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    others = [bench.ask(2), bench.ask(3, 4), bench.ask(5)]
    gate.opened.set()
    assert answer(first) == [[2, -2]]
    assert [answer(entry) for entry in others] == [[[4, -4]], [[6, -6], [8, -8]], [[10, -10]]]
    assert [len(batch) for batch in gate.batches] == [1, 4]


def test_only_the_outputs_asked_for_are_given_in_their_order(start: Start) -> None:
    bench = start(FakeSession(lambda inputs: {"z": inputs["x"], "y": inputs["x"] * 2}))
    assert list(bench.ask(1, outputs=("y", "z")).future.result(PATIENCE).outputs) == ["y", "z"]
    assert list(bench.ask(1, outputs=("z",)).future.result(PATIENCE).outputs) == ["z"]


def test_who_makes_a_backend_raise_fails_alone_and_the_thread_goes_on(start: Start) -> None:
    def fail_on_13(inputs: Tensors) -> Tensors:
        if 13 in inputs["x"]:
            raise RuntimeError("secret of the backend")
        return double(inputs)

    gate = Gate(fail_on_13)
    bench = start(gate)
    before = bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    numbers = [2, 13, 3, 4, 13, 5, 6, 7]
    entries = [bench.ask(number) for number in numbers]
    gate.opened.set()
    assert answer(before) == [[2, -2]]
    for number, entry in zip(numbers, entries, strict=True):
        error = entry.future.exception(PATIENCE)
        if number == 13:
            assert isinstance(error, InferenceFailed)
            assert "secret" not in str(error)
        else:
            assert answer(entry) == [[2 * number, -2 * number]]
    assert answer(bench.ask(3)) == [[6, -6]]


def test_a_request_whose_deadline_passes_while_its_batch_fails_is_not_run_again(start: Start) -> None:
    now = time.monotonic

    def fail(inputs: Tensors) -> Tensors:
        if len(inputs["x"]) > 1:
            late.deadline = now()
            raise RuntimeError
        return double(inputs)

    gate = Gate(fail)
    bench = start(gate)
    bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    late, neighbour = bench.ask(2), bench.ask(3)
    gate.opened.set()
    assert isinstance(late.future.exception(PATIENCE), DeadlineExceeded)
    assert answer(neighbour) == [[6, -6]]
    assert [batch.tolist() for batch in gate.batches[1:]] == [[[2, -2], [3, -3]], [[3, -3]]]


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), KeyboardInterrupt(), BaseException("a panic")])
def test_whatever_a_backend_raises_is_answered(start: Start, error: BaseException) -> None:
    def fail(_: Tensors) -> Tensors:
        raise error

    bench = start(FakeSession(fail))
    for _ in range(2):
        assert isinstance(bench.ask(1).future.exception(PATIENCE), InferenceFailed)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda inputs: {"y": inputs["x"][:-1]},
        lambda inputs: {"y": np.concatenate([inputs["x"], inputs["x"][:1]])},
        lambda inputs: {"y": inputs["x"][:, :1]},
        lambda inputs: {"y": inputs["x"].astype(np.float64)},
        lambda inputs: {"y": inputs["x"].ravel()},
        lambda inputs: {"y": inputs["x"].tolist()},
        lambda inputs: {"other": inputs["x"]},
        lambda _: {},
        lambda _: None,
    ],
    ids=["short", "long", "narrow", "datatype", "flat", "list", "name", "empty", "nothing"],
)
def test_outputs_that_do_not_fit_fail_the_batch_and_are_never_padded_or_shifted(
    start: Start, wrong: Callable[[Tensors], Tensors]
) -> None:
    gate = Gate(wrong)
    bench = start(gate)
    entries = [bench.ask(1)]
    assert gate.entered.wait(PATIENCE)
    entries += [bench.ask(2), bench.ask(3, 4)]
    gate.opened.set()
    for entry in entries:
        assert isinstance(entry.future.exception(PATIENCE), InferenceFailed)


def test_an_entry_cancelled_while_it_waits_never_reaches_the_session(start: Start) -> None:
    gate = Gate()
    bench = start(gate)
    bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    leaves, stays = bench.ask(666), bench.ask(2)
    assert leaves.future.cancel()
    gate.opened.set()
    assert answer(stays) == [[4, -4]]
    assert not any(666 in batch for batch in gate.batches)


def test_an_entry_cancelled_between_the_queue_and_the_run_is_left_out(start: Start) -> None:
    """The narrowest place: the batch was taken, the run has not begun."""
    session = FakeSession()
    bench = start(session)
    assert bench.stop()
    taken = [_entry(1), _entry(666), _entry(2)]
    taken[1].future.cancel()
    series = bench.metrics.of_version("toy", 3)
    identity = Identity("toy", 3, "", SIGNATURE)
    again = Instance(identity, session, _Once(taken), series=series, number=1)
    again.start()
    assert again.join(PATIENCE)
    assert [answer(taken[0]), answer(taken[2])] == [[[2, -2]], [[4, -4]]]
    assert [batch.tolist() for batch in session.batches] == [[[1, -1], [2, -2]]]


def test_a_request_that_runs_cannot_be_cancelled_any_more(start: Start) -> None:
    gate = Gate()
    bench = start(gate)
    entry = bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    assert not entry.future.cancel()
    gate.opened.set()
    assert answer(entry) == [[2, -2]]


def test_every_entry_is_answered_exactly_once_whatever_happens(start: Start) -> None:
    def sometimes(inputs: Tensors) -> Tensors:
        if inputs["x"].sum(axis=0)[0] % 3 == 0:
            raise RuntimeError
        return double(inputs)

    bench = start(FakeSession(sometimes))
    ends: list[int] = []
    entries = []
    for number in range(300):
        entry = bench.ask(*[number] * (1 + number % 3))
        entry.future.add_done_callback(lambda _, number=number: ends.append(number))  # type: ignore[misc]
        if number % 7 == 0:
            entry.future.cancel()
        entries.append(entry)
    assert bench.stop()
    assert sorted(ends) == list(range(300))
    for number, entry in enumerate(entries):
        if entry.future.cancelled():
            continue
        if (error := entry.future.exception(0)) is not None:
            assert isinstance(error, ServingError)
        else:
            assert answer(entry) == [[2 * number, -2 * number]] * (1 + number % 3)


def test_a_callback_that_raises_harms_nobody(start: Start) -> None:
    bench = start(FakeSession())
    entry = bench.ask(1)
    entry.future.add_done_callback(lambda _: 1 / 0)
    assert answer(entry) == [[2, -2]]
    assert answer(bench.ask(2)) == [[4, -4]]


def test_batches_are_counted_with_their_rows(start: Start) -> None:
    bench = start(FakeSession())
    for number in range(5):
        answer(bench.ask(number, number))
    assert bench.stop()
    value = bench.metrics.registry.get_sample_value
    labels = {"model": "toy", "version": "3"}
    assert value("sameway_batch_rows_sum", labels) == 10
    assert value("sameway_batch_rows_count", labels) == value("sameway_compute_seconds_count", labels) == 5
    assert value("sameway_queue_seconds_count", labels) == 5


def test_a_batch_that_hangs_is_seen_and_can_be_given_up(start: Start) -> None:
    gate = Gate()
    bench = start(gate)
    assert bench.instance.runs_for(time.monotonic()) == 0
    entry = bench.ask(1)
    assert gate.entered.wait(PATIENCE)
    assert bench.instance.runs_for(time.monotonic() + 30) > 29
    bench.instance.abandon(ModelNotReady("the process is replaced"))
    with pytest.raises(ModelNotReady):
        answer(entry)
    gate.opened.set()  # it comes back after all: its answer is nobody's, and the next request's is right
    assert answer(bench.ask(2)) == [[4, -4]]
    assert bench.stop()
    assert bench.instance.runs_for(time.monotonic() + 30) == 0


def _entry(number: float) -> Entry:
    request = InferRequest("toy", 3, {"x": rows(number)})
    return Entry(request, rows=1, shape=(), deadline=time.monotonic() + PATIENCE)


class _Once(Batcher):
    """Gives out one batch as it is, then nothing."""

    def __init__(self, batch: list[Entry]) -> None:
        super().__init__(batch_rows=8, queue_rows=8)
        self._given = iter([batch])

    def take(self) -> list[Entry] | None:
        return next(self._given, None)
