"""A thread that brings requests computes them itself where that is cheap, and only there."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.tensors import Signature, TensorSpec
from serving.backends.onnx import OnnxBackend
from serving.engine.answer import Answer
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse
from tests.serving.sessions import PATIENCE, SIGNATURE, FakeSession, Gate, double, rows

#: So many batches are measured before anything is known to be cheap.
KNOWN = 16


class Bench:
    """A served version, and the work that its lender was asked to do and has not done."""

    def __init__(self, *sessions: FakeSession, signature: Signature = SIGNATURE, **config: object) -> None:
        self.asked: list[Callable[[], None]] = []
        self.lenders: dict[int, Callable[[Callable[[], None]], object]] = {}
        self.served = ServedVersion(
            Servable("model", 1, "0" * 64, True, signature, None, {}, None, "manifest"),
            ModelConfig(**config),  # type: ignore[arg-type]
            backend=OnnxBackend(),
            format="onnx",
            example={},
            sessions=[_steady(session) for session in sessions],
            metrics=Metrics(),
            lenders=self.lenders,
        )

    def ask(self, *numbers: float) -> Answer[InferResponse]:
        deadline = time.monotonic() + PATIENCE
        return self.served.submit(InferRequest("model", 1, {"x": rows(*numbers)}, deadline=deadline))

    def learn(self) -> "Bench":
        """Let it be known what batches take, then lend this thread."""
        for number in range(KNOWN):
            self.ask(number).result(PATIENCE)
        self.lenders[threading.get_ident()] = self.asked.append
        return self

    def run(self) -> None:
        asked, self.asked[:] = list(self.asked), []
        for one in asked:
            one()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*sessions: FakeSession, **config: object) -> Bench:
        benches.append(Bench(*sessions, **config))  # type: ignore[arg-type]
        return benches[-1]

    yield make
    for one in benches:
        assert one.served.close(drain_seconds=PATIENCE)


def _steady(session: FakeSession) -> FakeSession:
    """Let a session say that what it takes depends on shapes alone, unless it says something else."""
    session.steady = getattr(session, "steady", True)  # type: ignore[attr-defined]
    return session


def told(answer: Answer[InferResponse]) -> list[list[float]]:
    found: list[list[float]] = answer.result(0).outputs["y"].tolist()
    return found


class Whose(FakeSession):
    """Notes which threads have used it."""

    def __init__(self) -> None:
        super().__init__(self._double)
        self.threads: list[int] = []

    def _double(self, inputs):  # type: ignore[no-untyped-def]
        self.threads.append(threading.get_ident())
        return double(inputs)


def test_what_came_until_then_is_one_batch_of_the_thread_that_brought_it(bench: Callable[..., Bench]) -> None:
    session = Whose()
    one = bench(session).learn()
    session.threads.clear()
    answers = [one.ask(number) for number in range(3)]
    assert not any(answer.done() for answer in answers)
    assert len(one.asked) == 1, "asked once for all of them"
    one.run()
    assert [told(answer) for answer in answers] == [[[2 * number, -2 * number]] for number in range(3)]
    assert session.threads == [threading.get_ident()]


def test_what_is_more_than_a_batch_is_run_in_turns(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession()).learn()
    answers = [one.ask(*range(5)) for _ in range(3)]
    turns = 0
    while one.asked:
        one.run()
        turns += 1
    assert turns == 3
    assert all(answer.done() for answer in answers)


def test_nobody_computes_before_it_is_known_to_be_cheap(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession())
    one.lenders[threading.get_ident()] = one.asked.append
    assert one.ask(1).result(PATIENCE)
    assert not one.asked


def test_what_is_dear_is_left_to_the_instance(bench: Callable[..., Bench]) -> None:
    def slow(inputs):  # type: ignore[no-untyped-def]
        until = time.monotonic() + 0.003
        while time.monotonic() < until:
            pass
        return double(inputs)

    one = bench(FakeSession(slow)).learn()
    assert one.ask(1).result(PATIENCE)
    assert not one.asked


def test_who_waits_for_company_is_not_run_at_once(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession(), queue_delay_seconds=0.001).learn()
    assert one.ask(1).result(PATIENCE)
    assert not one.asked


def test_where_shapes_differ_nothing_is_known_of_the_next(bench: Callable[..., Bench]) -> None:
    free = Signature((TensorSpec("x", "FP32", (None,)),), (TensorSpec("y", "FP32", (None,)),), max_batch_size=8)
    one = bench(FakeSession(), signature=free).learn()
    assert one.ask(1).result(PATIENCE)
    assert not one.asked


def test_what_takes_as_long_as_its_values_say_is_left_to_the_instance(bench: Callable[..., Bench]) -> None:
    session = FakeSession()
    session.steady = False  # type: ignore[attr-defined]
    one = bench(session).learn()
    assert one.ask(1).result(PATIENCE)
    assert not one.asked


def test_a_thread_that_does_not_lend_itself_hands_over(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession()).learn()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(one.ask(1).result(PATIENCE)))
    thread.start()
    thread.join(PATIENCE)
    assert found
    assert not one.asked


def test_where_the_session_is_in_use_its_own_thread_goes_on(bench: Callable[..., Bench]) -> None:
    gate = Gate()
    gate.opened.set()
    one = bench(gate).learn()
    gate.opened.clear()
    gate.entered.clear()
    del one.lenders[threading.get_ident()]
    first = one.ask(1)
    assert gate.entered.wait(PATIENCE)
    one.lenders[threading.get_ident()] = one.asked.append
    second = one.ask(2)
    one.run()
    assert not second.done(), "this thread has waited for nobody"
    gate.opened.set()
    assert first.result(PATIENCE).outputs["y"][0, 0] == 2
    assert second.result(PATIENCE).outputs["y"][0, 0] == 4


def test_of_several_that_fail_the_one_to_blame_fails_alone(bench: Callable[..., Bench]) -> None:
    def fail(inputs):  # type: ignore[no-untyped-def]
        if np.any(inputs["x"] == 113):
            raise ValueError("unlucky")
        return double(inputs)

    one = bench(FakeSession(fail)).learn()
    answers = [one.ask(number) for number in (112, 113, 114)]
    one.run()
    assert [answer.exception(0) is None for answer in answers] == [True, False, True]


def test_closing_waits_for_the_thread_that_computes(bench: Callable[..., Bench]) -> None:
    gate = Gate()
    gate.opened.set()
    one = bench(gate).learn()
    answer = one.ask(1)
    gate.opened.clear()
    gate.entered.clear()
    thread = threading.Thread(target=one.run)
    thread.start()
    assert gate.entered.wait(PATIENCE)
    assert not one.served.close(drain_seconds=0.01), "the session is in use"
    assert not gate.closed
    gate.opened.set()
    thread.join(PATIENCE)
    assert told(answer) == [[2, -2]]


def test_what_nobody_came_to_run_is_run_when_the_version_closes(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession()).learn()
    answer = one.ask(1)
    assert one.served.close(drain_seconds=PATIENCE)
    assert told(answer) == [[2, -2]]


def test_a_thread_that_runs_at_once_has_its_answer_at_once(bench: Callable[..., Bench]) -> None:
    one = bench(FakeSession()).learn()
    one.lenders[threading.get_ident()] = lambda run: run()
    assert told(one.ask(3)) == [[6, -6]]
