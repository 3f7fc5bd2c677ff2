"""Whoever asks at once, in whatever order, and whatever becomes of the others: an answer is the one that its request alone
would get, and every request comes to exactly one end.

First on a session of the test's own, which runs a batch when it is told to and fails in every way a backend can; then on
ONNX Runtime, with clients in threads and values that make it raise.
"""

import gc
import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.repository import Repository
from models.tensors import Array, Signature, Tensors, TensorSpec
from serving.backends.onnx import OnnxBackend
from serving.engine.answer import Answer
from serving.engine.local import LocalEngine
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.errors import DeadlineExceeded, InferenceFailed, ModelNotReady, Overloaded
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from serving.request import InferRequest, InferResponse
from tests.serving import graphs
from tests.serving.sessions import PATIENCE

#: One free axis, so that not all requests may share a batch.
SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (None,)),),
    (TensorSpec("y", "FP32", (None,)), TensorSpec("total", "FP32", ())),
    max_batch_size=4,
)

#: Values that stand for a backend's failures; all others are names, from 1 on.
RAISES, LACKS_A_ROW, OTHER_DATATYPE, LACKS_AN_OUTPUT, NAMELESS = -1.0, -2.0, -3.0, -4.0, 0.0
FAILURES = (RAISES, LACKS_A_ROW, OTHER_DATATYPE, LACKS_AN_OUTPUT)


def alone(x: Array) -> dict[str, Array]:
    """Return what the model says of each row; float32 holds all of it exactly."""
    return {"y": x * 3 + 1, "total": x.sum(axis=1)}


class Stepped:
    """A session that runs as many batches as it is allowed to, and fails as the values in its input say."""

    def __init__(self, allowed: threading.Semaphore) -> None:
        self._allowed = allowed
        self.names: list[float] = []

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        return np.full(shape, NAMELESS, np.float32)

    def run(self, inputs: Tensors) -> Tensors:
        assert self._allowed.acquire(timeout=PATIENCE)
        x = inputs["x"]
        assert (x[:, 0] != NAMELESS).all(), "a row that nobody has sent"
        self.names += x[:, 0].tolist()
        if (x == RAISES).any():
            raise RuntimeError("the runtime cannot compute this")
        outputs = alone(x)
        if (x == LACKS_A_ROW).any():
            return {name: array[:-1] for name, array in outputs.items()}
        if (x == OTHER_DATATYPE).any():
            return {**outputs, "total": outputs["total"].astype(np.float64)}
        if (x == LACKS_AN_OUTPUT).any():
            return {"y": outputs["y"]}
        return outputs

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Ask:
    """A request for so many rows of so many columns. `seconds` is how long it has, None for as long as it takes."""

    rows: int
    width: int
    priority: int = 0
    failure: float | None = None
    seconds: float | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Cancel:
    """The client of a request leaves; which one, counted from the newest."""

    back: int


@dataclass(frozen=True)
class Run:
    """The sessions may run so many batches more."""

    batches: int


def asks() -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        rows=st.integers(1, SIGNATURE.max_batch_size),
        width=st.integers(1, 2),
        priority=st.integers(0, 2),
        # Most are well: who fails must have neighbours.
        failure=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(FAILURES)),
        seconds=st.one_of(st.none(), st.none(), st.none(), st.sampled_from([-1.0, 0.0005])),
        outputs=st.sampled_from([None, ("y",), ("total", "y")]),
    )


def turns() -> st.SearchStrategy["list[Ask | Cancel | Run]"]:
    return st.lists(
        st.one_of(asks(), asks(), asks(), st.builds(Cancel, st.integers(0, 5)), st.builds(Run, st.integers(1, 3))),
        max_size=30,
    )


class Asked:
    """A request that was let in: what it asked, what it must be told, and how often its future has said that it is done."""

    def __init__(self, ask: Ask, x: Array) -> None:
        self.ask = ask
        self.x = x
        self.left = False
        self.ends = 0
        self.future: Answer[InferResponse] = Answer()

    def watch(self, future: "Answer[InferResponse]") -> None:
        self.future = future
        future.add_done_callback(self._count)

    def _count(self, _: object) -> None:
        self.ends += 1


class Clients:
    """Everybody who asks one served version, and what they may be told."""

    def __init__(self, instances: int, delay_seconds: float) -> None:
        self.allowed = threading.Semaphore(0)
        self.sessions = [Stepped(self.allowed) for _ in range(instances)]
        self.asked: list[Asked] = []
        self.refused = 0
        self._name = 0.0
        config = ModelConfig(queue_rows=24, priority_levels=2, queue_delay_seconds=delay_seconds)
        version = Servable("model", 1, "0" * 64, True, SIGNATURE, None, {}, None, "manifest")
        self.served = ServedVersion(
            version,
            config,
            backend=OnnxBackend(),
            format="onnx",
            example={},
            sessions=list(self.sessions),
            metrics=Metrics(),
        )

    def take_turn(self, turn: Ask | Cancel | Run) -> None:
        if isinstance(turn, Run):
            self.allowed.release(turn.batches)
        elif isinstance(turn, Ask):
            self.submit(turn)
        elif turn.back < len(self.asked):
            one = self.asked[-1 - turn.back]
            one.left = one.future.cancel() or one.left

    def submit(self, ask: Ask) -> None:
        x = np.empty((ask.rows, ask.width), np.float32)
        for row in range(ask.rows):
            self._name += 1
            x[row] = self._name
        if ask.failure is not None:
            x[-1, -1] = ask.failure
        deadline = None if ask.seconds is None else time.monotonic() + ask.seconds
        request = InferRequest(
            "model", 1, {"x": x}, outputs=ask.outputs, id=str(self._name), deadline=deadline, priority=ask.priority
        )
        one = Asked(ask, x)
        try:
            one.watch(self.served.submit(request))
        except DeadlineExceeded:
            assert ask.seconds is not None
            self.refused += 1
        except Overloaded:
            self.refused += 1
        else:
            self.asked.append(one)

    def check(self, one: Asked, *, abandoned: bool) -> str:
        """Return how a request ended, having checked that it may end so, and that its answer is its own."""
        assert one.ends == 1
        if one.future.cancelled():
            assert one.left
            return "cancelled"
        assert not one.left
        error = one.future.exception(timeout=0)
        if error is None:
            assert one.ask.failure is None, "an answer made of what the backend refused to compute"
            self._check_answer(one)
            return "answered"
        if isinstance(error, ModelNotReady):
            assert abandoned
        elif isinstance(error, DeadlineExceeded):
            assert one.ask.seconds is not None
        else:
            assert isinstance(error, InferenceFailed)
            assert one.ask.failure is not None, "the neighbour of one that fails has failed too"
        return type(error).__name__

    def _check_answer(self, one: Asked) -> None:
        response, expected = one.future.result(), alone(one.x)
        assert response.rows == one.ask.rows
        assert response.id == str(one.x[-1, 0])
        assert tuple(response.outputs) == (one.ask.outputs or ("y", "total"))
        for name, array in response.outputs.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected[name])


@settings(max_examples=200)
@given(
    turns=turns(),
    instances=st.integers(1, 2),
    delay_seconds=st.sampled_from([0.0, 0.0, 0.0005]),
    abandon=st.sampled_from([False, False, False, True]),
)
def test_whatever_happens_to_whom_an_answer_is_its_own_and_every_request_ends_once(
    turns: "list[Ask | Cancel | Run]", instances: int, delay_seconds: float, abandon: bool
) -> None:
    clients = Clients(instances, delay_seconds)
    for turn in turns:
        clients.take_turn(turn)
    if abandon:
        clients.served.abandon()
    clients.allowed.release(1000)  # more batches than there are requests, each run again in halves
    assert clients.served.close(drain_seconds=PATIENCE)

    ends = [clients.check(one, abandoned=abandon) for one in clients.asked]
    assert len(ends) + clients.refused == sum(isinstance(turn, Ask) for turn in turns)
    executed = Counter(name for session in clients.sessions for name in session.names)
    for one, end in zip(clients.asked, ends, strict=True):
        runs = {executed[name] for name in one.x[:, 0].tolist() if name > 0}
        if end == "cancelled":
            assert not runs - {0}, "computed for nobody"
        if end == "answered" and not any(other.ask.failure for other in clients.asked):
            assert runs == {1}, "computed more than once"
    with pytest.raises(ModelNotReady):
        clients.served.submit(InferRequest("model", 1, {"x": np.ones((1, 1), np.float32)}))


@pytest.mark.parametrize("ends", ["answered", "failed", "cancelled"])
def test_a_request_that_has_ended_leaves_nothing_for_the_garbage_collector(
    ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest keeps what is logged, an error among it, and that the frames it came through.
    caplog.set_level(logging.CRITICAL, logger="serving.engine.instance")
    clients = Clients(instances=1, delay_seconds=0.0)
    if ends == "cancelled":
        clients.take_turn(Ask(rows=1, width=1))  # keeps the session, so that the next one waits
    x = np.array([[1, RAISES if ends == "failed" else 2]], np.float32)
    tensors = weakref.ref(x)
    future = clients.served.submit(InferRequest("model", 1, {"x": x}))
    gc.collect()
    gc.disable()
    try:
        if ends == "cancelled":
            assert future.cancel()
        clients.allowed.release(10)
        assert clients.served.close(drain_seconds=PATIENCE)
        assert future.done()
        del future, x
        assert tensors() is None, "32 MiB of a body may hang on it"
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """An engine whose model looks up numbers in a table of four; for a place outside of it ONNX Runtime raises."""
    root = tmp_path_factory.mktemp("lookup")
    graphs.publish_lookup(root)
    (root / "lookup" / "config.toml").write_text("instances = 2\npriority_levels = 2\nqueue_rows = 4096\n", encoding="utf-8")
    engine = LocalEngine(Repository(root), Metrics())
    engine.load_all()
    yield engine
    engine.close(drain_seconds=PATIENCE)


#: Places in the table, and now and then one outside.
PLACES = st.lists(st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, -5]), min_size=1, max_size=8)


@settings(max_examples=40)
@given(clients=st.lists(st.lists(st.tuples(PLACES, st.integers(0, 2), st.booleans()), max_size=20), min_size=2, max_size=4))
def test_onnx_runtime_answers_clients_at_once_as_it_would_one_by_one(
    lookup: LocalEngine, clients: list[list[tuple[list[int], int, bool]]]
) -> None:
    problems: list[str] = []

    def ask(wishes: list[tuple[list[int], int, bool]]) -> None:
        asked = []
        for places, priority, leaves in wishes:
            x = np.array(places, np.int64)
            future = lookup.submit(InferRequest("lookup", None, {"place": x}, priority=priority))
            asked.append((places, future, leaves and future.cancel()))
        for places, future, left in asked:
            found = "cancelled" if left else _found(future)
            inside = all(-4 <= place < 4 for place in places)
            expected = [10.0 + place % 4 for place in places] if inside else "failed"
            if found != ("cancelled" if left else expected):
                problems.append(f"{places}: expected {expected}, found {found}")

    threads = [threading.Thread(target=ask, args=(wishes,), daemon=True) for wishes in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert problems == []


def _found(future: "Answer[InferResponse]") -> object:
    try:
        return future.result(PATIENCE).outputs["found"].tolist()
    except InferenceFailed:
        return "failed"
