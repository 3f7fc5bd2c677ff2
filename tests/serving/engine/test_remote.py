"""The engine behind a pair of sockets: it says and does what the one in this process does."""

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from serving.engine.answer import Answer
from serving.engine.base import State
from serving.errors import DeadlineExceeded, InvalidInput, ModelNotFound, ModelNotReady, ServingError
from serving.request import InferRequest, InferResponse
from tests import toys
from tests.serving import graphs
from tests.serving.remotes import Rig, outcome, rig
from tests.serving.sessions import PATIENCE


@pytest.fixture
def toy(toy_repository: Path) -> Iterator[Rig]:
    with rig(toy_repository) as made:
        yield made


def wish(count: int = 1, seed: int = 1, **fields: object) -> InferRequest:
    return dataclasses.replace(InferRequest("toy", None, {"image": toys.images(count, seed)}), **fields)  # type: ignore[arg-type]


def until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def test_an_answer_comes_back_exactly_with_all_that_belongs_to_it(toy: Rig) -> None:
    began = time.monotonic()
    request = wish(3, id="mine", outputs=("class", "probabilities"))
    response, local = (engine.submit(request).result(PATIENCE) for engine in (toy.remote, toy.local))
    assert list(response.outputs) == ["class", "probabilities"]
    for name, array in local.outputs.items():
        assert response.outputs[name].dtype == array.dtype
        np.testing.assert_array_equal(response.outputs[name], array)
    plain = [dataclasses.replace(one, outputs={}, timings=local.timings) for one in (response, local)]
    assert plain[0] == plain[1]
    assert response.id == "mine"
    took = response.timings
    assert began <= took.queued <= took.queued + took.queue + took.join + took.run + took.split <= time.monotonic()


def test_what_is_known_of_models_is_the_same(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    toys.publish(tmp_path, seed=1)
    toys.publish(tmp_path, "other")
    (tmp_path / "toy" / "config.toml").write_text('versions = "all"\ntimeout_seconds = 7\npriority_levels = 3')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.toml").touch()
    with rig(tmp_path) as made:
        for model, version in (("toy", None), ("toy", 1), ("toy", 2), ("other", 1)):
            remote, local = made.remote.metadata(model, version), made.local.metadata(model, version)
            np.testing.assert_array_equal(remote.example["image"], local.example["image"])
            assert dataclasses.replace(remote, example={}) == dataclasses.replace(local, example={})
            assert made.remote.config(model, version) == made.local.config(model, version)
            assert made.remote.ready(model, version)
        assert made.remote.index() == made.local.index()
        assert made.remote.statistics() == made.local.statistics()
        assert made.remote.ready()
        assert made.remote.alive()
        assert [made.remote.knows(name) for name in ("toy", "broken", "nobody")] == [True, True, False]
        assert not made.remote.ready("broken")
        for remote_error, local_error in (
            (outcome_of(engine, model, version) for engine in (made.remote, made.local))
            for model, version in (("nobody", None), ("broken", None), ("toy", 3), ("other", 2))
        ):
            assert_same(remote_error, local_error)


def outcome_of(engine, model: str, version: int | None) -> BaseException:  # type: ignore[no-untyped-def]
    with pytest.raises(ServingError) as error:
        engine.metadata(model, version)
    return error.value


def assert_same(remote: object, local: object) -> None:
    assert isinstance(remote, ServingError), remote
    assert isinstance(local, ServingError)
    assert type(remote) is type(local)
    assert str(remote) == str(local)
    assert vars(remote) == vars(local)


@pytest.mark.parametrize(
    "request_",
    [
        wish(model="nobody"),
        wish(version=2),
        wish(9),
        wish(inputs={}),
        wish(inputs={"image": toys.images(1).astype(np.float32)}),
        wish(inputs={"image": toys.images(1), "more": toys.images(1)}),
        wish(inputs={"image": np.array([["x"]], dtype=object)}),
        wish(inputs={"image": np.zeros(3, "datetime64[s]")}),
        wish(outputs=("nothing",)),
        wish(deadline=0.0),
        wish(deadline=-float("inf")),
    ],
    ids=range(11),
)
def test_a_request_that_is_wrong_ends_with_the_same_error(toy: Rig, request_: InferRequest) -> None:
    assert_same(*(outcome(lambda engine=engine: engine.submit(request_)) for engine in (toy.remote, toy.local)))  # type: ignore[misc]


def test_a_priority_crosses_and_so_does_its_refusal(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("priority_levels = 2")
    with rig(tmp_path) as made:
        assert made.remote.submit(wish(priority=2)).result(PATIENCE).rows == 1
        request = wish(priority=3)
        assert_same(*(outcome(lambda engine=engine: engine.submit(request)) for engine in (made.remote, made.local)))  # type: ignore[misc]


def test_a_deadline_crosses_as_the_time_that_is_left(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 0.1")
    with rig(tmp_path) as made:
        assert isinstance(outcome(lambda: made.remote.submit(wish(deadline=time.monotonic() + 0.02))), DeadlineExceeded)
        for deadline in (time.monotonic() + 5, float("inf"), None):
            assert made.remote.submit(wish(deadline=deadline)).result(PATIENCE).rows == 1


def test_every_datatype_crosses(tmp_path: Path) -> None:
    graphs.publish_identity(tmp_path)
    with rig(tmp_path) as made:
        inputs = {
            spec.name: np.array([["", "é", "\x00"]] * 2, dtype=object)
            if spec.datatype == "BYTES"
            else np.array([[0, 1, 0], [1, 1, 0]]).astype(spec.dtype)
            for spec in made.remote.metadata("identity").signature.inputs
        }
        request = InferRequest("identity", None, inputs)
        remote, local = (engine.submit(request).result(PATIENCE).outputs for engine in (made.remote, made.local))
        assert len(remote) > 10
        assert [array.dtype for array in remote.values()] == [array.dtype for array in local.values()]
        assert {name: array.tolist() for name, array in remote.items()} == {
            name: array.tolist() for name, array in local.items()
        }


def test_a_thousand_requests_of_each_front_end_get_each_its_own_answer(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_rows = 8000")
    pixels = toys.images(2000, seed=5)
    expected = toys.reference(pixels)["probabilities"]
    found: list[Answer[InferResponse] | None] = [None] * 2000

    def ask(made: Rig, front: int) -> None:
        engine = made.fronts[front].engine
        for place in range(front, 2000, 2):
            found[place] = engine.submit(wish(inputs={"image": pixels[place : place + 1]}, id=str(place)))

    with rig(tmp_path, fronts=2) as made:
        threads = [threading.Thread(target=ask, args=(made, front)) for front in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for place, future in enumerate(found):
            assert future is not None
            response = future.result(PATIENCE)
            assert response.id == str(place)
            np.testing.assert_allclose(response.outputs["probabilities"][0], expected[place], atol=1e-5)
        (statistics,) = made.remote.statistics("toy")
        assert statistics.inference_count == 2000
        assert statistics.execution_count < 2000, "requests of both shared batches"


def test_batches_form_across_front_ends(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 10")
    with rig(tmp_path, fronts=2) as made:
        # Eight rows fill a batch, and no four do.
        futures = [front.engine.submit(wish(seed=seed)) for seed in range(4) for front in made.fronts]
        assert all(future.result(PATIENCE).rows == 1 for future in futures)
        (statistics,) = made.remote.statistics("toy")
        assert list(statistics.batches) == [8]


def test_large_tensors_cross_and_do_not_hold_up_small_ones(tmp_path: Path) -> None:
    one = {"in_FP32": np.ones((1, 3), np.float32)}
    graphs.publish(tmp_path, "large", graphs.identity(("FP32",), None), one, {"out_FP32": one["in_FP32"]})
    toys.publish(tmp_path)
    with rig(tmp_path) as made:
        values = np.random.default_rng(0).random((6, 2_000_000), dtype=np.float32)
        futures = [made.remote.submit(InferRequest("large", None, {"in_FP32": values[n : n + 1]})) for n in range(6)]
        assert made.remote.submit(wish()).result(PATIENCE).rows == 1
        for n, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(PATIENCE).outputs["out_FP32"], values[n : n + 1])


def test_a_cancelled_request_leaves_the_queue_and_is_not_computed(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 10")
    with rig(tmp_path) as made:
        left = [made.remote.submit(wish(seed=seed)) for seed in range(7)]
        queue = made.local.management.table.model("toy").newest._batcher  # type: ignore[union-attr]
        until(lambda: queue.rows() == 7, "queued")
        for future in left:
            assert future.cancel()
        until(lambda: queue.rows() == 0, "given up")
        with pytest.raises(CancelledError):
            left[0].result(0)
        answers = [made.remote.submit(wish(seed=seed)) for seed in range(8)]
        assert all(future.result(PATIENCE) for future in answers)
        (statistics,) = made.remote.statistics("toy")
        assert statistics.inference_count == 8


def test_what_a_front_end_has_asked_is_given_up_when_it_is_gone(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 10")
    with rig(tmp_path, fronts=2) as made:
        queue = made.local.management.table.model("toy").newest._batcher  # type: ignore[union-attr]
        futures = [made.remote.submit(wish(seed=seed)) for seed in range(3)]
        kept = made.fronts[1].engine.submit(wish())
        until(lambda: queue.rows() == 4, "queued")
        made.fronts[0].die()
        until(lambda: queue.rows() == 1, "given up")
        assert all(isinstance(future.exception(PATIENCE), ModelNotReady) for future in futures)
        with pytest.raises(ModelNotReady, match="shutting down"):
            made.remote.submit(wish())
        rest = [made.fronts[1].engine.submit(wish()) for _ in range(7)]
        assert all(future.result(PATIENCE) for future in [kept, *rest])


def test_an_engine_that_ends_costs_its_requests_only_and_another_takes_its_place(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 0.5")
    with rig(tmp_path, fronts=2) as made:
        futures = [front.engine.submit(wish()) for front in made.fronts]
        made.host.die()
        for future in futures:
            error = future.exception(PATIENCE)
            assert isinstance(error, ModelNotReady)
            assert error.retry_after_seconds == 1
        assert not made.remote.ready()
        assert made.remote.alive()
        for ask in (lambda: made.remote.submit(wish()), lambda: made.remote.metadata("toy")):
            with pytest.raises(ModelNotReady, match="being replaced"):
                ask()
        with pytest.raises(ModelNotFound):
            made.remote.metadata("nobody")
        made.replace_host()
        assert all(front.engine.submit(wish()).result(PATIENCE) for front in made.fronts)
        until(made.remote.ready, "ready")


def test_a_front_end_without_an_engine_yet_says_so(toy_repository: Path) -> None:
    with rig(toy_repository, load=False) as made:
        assert not made.remote.ready()
        with pytest.raises(ModelNotReady, match="waiting to be loaded"):
            made.remote.metadata("toy")
        made.host.load()
        until(made.remote.ready, "ready")
        assert made.remote.submit(wish()).result(PATIENCE)


def test_a_new_version_is_known_everywhere_when_its_load_has_ended(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    with rig(tmp_path, fronts=2) as made:
        for number in range(2, 6):
            toys.publish(tmp_path, seed=number)
            made.local.management.load("toy").result(PATIENCE)
            for front in made.fronts:
                assert front.engine.metadata("toy").version == number
                assert front.engine.metadata("toy").versions == (number,)
                with pytest.raises(ModelNotFound):
                    front.engine.metadata("toy", number - 1)
        made.local.management.unload("toy").result(PATIENCE)
        for front in made.fronts:
            with pytest.raises(ModelNotReady, match="unloaded"):
                front.engine.metadata("toy")
        assert [status.state for status in made.remote.index()] == [State.UNAVAILABLE]


def test_no_request_fails_while_versions_take_each_others_place(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    over = threading.Event()
    failed: list[BaseException] = []
    answered = [0, 0]

    def ask(made: Rig, front: int) -> None:
        engine = made.fronts[front].engine
        while not over.is_set():
            version = engine.metadata("toy").version
            found = outcome(lambda version=version: engine.submit(wish(version=version)))  # type: ignore[misc]
            if isinstance(found, BaseException):
                # Of a version that went between the two lines: whoever asks looks once more, as protocols do.
                if engine.metadata("toy").version == version:
                    failed.append(found)
            else:
                assert found.version == version
                answered[front] += 1

    with rig(tmp_path, fronts=2) as made:
        threads = [threading.Thread(target=ask, args=(made, front)) for front in (0, 1)]
        for thread in threads:
            thread.start()
        for number in range(2, 12):
            toys.publish(tmp_path, seed=number)
            made.local.management.load("toy").result(PATIENCE)
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert failed == []
    assert min(answered) > 0


def test_requests_are_counted_by_version_where_they_are_answered(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    with rig(tmp_path) as made:
        front = made.fronts[0].metrics
        for _ in range(3):
            front.begin()
            response = made.remote.submit(wish()).result(PATIENCE)
            front.end(response.model, response.version, None, 0.001)
        toys.publish(tmp_path, seed=1)
        made.local.management.load("toy").result(PATIENCE)
        figures = front.figures()
        assert ("toy", "1") not in figures
        assert figures["toy", ""].retired["ok"] == 3
        front.begin()
        front.end("toy", 2, None, 0.001)
        assert front.figures()["toy", "2"].ended["ok"] == 1


def test_a_new_engine_does_not_make_the_counts_of_versions_move(toy_repository: Path) -> None:
    with rig(toy_repository) as made:
        front = made.fronts[0].metrics
        front.begin()
        front.end("toy", 1, None, 0.001)
        made.host.die()
        assert front.figures()["toy", "1"].ended["ok"] == 1
        made.replace_host()
        until(made.remote.ready, "ready")
        assert front.figures()["toy", "1"].ended["ok"] == 1


def test_closing_waits_for_what_was_accepted(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 0.2")
    with rig(tmp_path) as made:
        future = made.remote.submit(wish())
        made.remote.close(drain_seconds=PATIENCE)
        assert future.result(0).rows == 1
        with pytest.raises(ModelNotReady, match="shutting down"):
            made.remote.submit(wish())


def test_bytes_that_are_no_frames_end_the_connection_and_nothing_else(toy_repository: Path) -> None:
    with rig(toy_repository, fronts=2) as made:
        channel = made.remote._channel
        assert channel is not None
        os.write(channel._end.fileno(), b"\xff" * 64)
        until(lambda: made.remote._channel is None, "ended")
        assert made.fronts[1].engine.submit(wish()).result(PATIENCE)
        with pytest.raises(ModelNotReady):
            made.remote.submit(wish())


def test_a_batch_that_hangs_is_told(toy_repository: Path) -> None:
    with rig(toy_repository) as made:
        served = made.local.management.table.model("toy").newest  # type: ignore[union-attr]
        made.local._hangs(served, hangs=True)
        until(lambda: not made.remote.ready("toy"), "told")
        remote, local = (outcome(lambda engine=engine: engine.submit(wish())) for engine in (made.remote, made.local))  # type: ignore[misc]
        assert_same(remote, local)
        made.local._hangs(served, hangs=False)
        until(lambda: made.remote.ready("toy"), "told")
        assert not isinstance(outcome(lambda: made.remote.submit(wish())), InvalidInput)
