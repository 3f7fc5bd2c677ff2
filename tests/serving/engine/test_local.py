import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.repository import Repository
from serving.engine.answer import Answer
from serving.engine.base import State
from serving.engine.local import LocalEngine
from serving.engine.served import ServedVersion
from serving.errors import InvalidInput, ModelNotFound, ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest, InferResponse
from tests import toys
from tests.serving.sessions import PATIENCE

Load = Callable[..., LocalEngine]


def wish(model: str = "toy", version: int | None = None, count: int = 1) -> InferRequest:
    return InferRequest(model, version, {"image": toys.images(count)})


def states(engine: LocalEngine) -> dict[str, State]:
    return {status.name: status.state for status in engine.index()}


def test_the_newest_version_is_served(tmp_path: Path, load: Load) -> None:
    for seed in range(11):
        toys.publish(tmp_path, seed=seed)
    engine = load(tmp_path)
    response = engine.submit(wish(count=3)).result(PATIENCE)
    assert response.version == engine.metadata("toy").version == 11
    expected = toys.reference(toys.images(3), seed=10)
    np.testing.assert_allclose(response.outputs["probabilities"], expected["probabilities"], atol=1e-5)
    assert response.digest == Repository(tmp_path).open("toy", 11).digest
    with pytest.raises(ModelNotFound):
        engine.submit(wish(version=10))


@pytest.mark.parametrize("version", [2, 0, -1, 10**18])
def test_a_version_that_is_not_served_is_not_found(toy_repository: Path, load: Load, version: int) -> None:
    engine = load(toy_repository)
    for ask in (engine.metadata, engine.ready):
        with pytest.raises(ModelNotFound, match="version"):
            ask("toy", version)


@pytest.mark.parametrize("model", ["", "toy2", "TOY", "../toy", "toy/1", "a" * 100_000, "\n", "é"])
def test_an_unknown_model_is_not_found_and_the_message_stays_short(toy_repository: Path, load: Load, model: str) -> None:
    engine = load(toy_repository)
    with pytest.raises(ModelNotFound) as error:
        engine.submit(wish(model))
    assert len(str(error.value)) < 300
    with pytest.raises(ModelNotFound):
        engine.ready(model)


def test_inputs_that_do_not_fit_are_refused_with_field_expected_and_found(toy_repository: Path, load: Load) -> None:
    with pytest.raises(InvalidInput) as error:
        load(toy_repository).submit(InferRequest("toy", None, {"image": toys.images(1).astype(np.float32)}))
    assert (error.value.field, error.value.expected, error.value.found) == (
        "image",
        "datatype UINT8",
        "dtype float32",
    )


def test_only_the_models_named_are_served_each_once(tmp_path: Path, load: Load) -> None:
    for name in ("a", "b", "c"):
        toys.publish(tmp_path, name)
    threads = {thread.name for thread in threading.enumerate()}
    engine = load(tmp_path, models=("b", "a", "b"))
    assert states(engine) == {"a": State.READY, "b": State.READY}
    assert {thread.name for thread in threading.enumerate()} - threads - {"manage_0", "open"} == {"a/1#0", "b/1#0"}
    with pytest.raises(ModelNotFound):
        engine.metadata("c")


def test_before_loading_a_model_is_known_but_not_ready_whatever_version_is_asked_for(toy_repository: Path) -> None:
    engine = LocalEngine(Repository(toy_repository), Metrics())
    assert not engine.ready()
    for version in (None, 1):
        assert not engine.ready("toy", version)
        with pytest.raises(ModelNotReady, match="waiting to be loaded") as error:
            engine.submit(wish(version=version))
        assert error.value.retry_after_seconds == 1
    with pytest.raises(ModelNotFound):
        engine.metadata("bee")


def test_the_server_is_not_ready_before_the_last_model_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.publish(tmp_path, "a")
    toys.publish(tmp_path, "b")
    engine = LocalEngine(Repository(tmp_path), Metrics())
    seen = []
    real = ServedVersion.open

    def look(version, config, metrics, lenders):  # type: ignore[no-untyped-def]
        seen.append((version.model, engine.ready(), states(engine)))
        return real(version, config, metrics, lenders)

    monkeypatch.setattr(ServedVersion, "open", look)
    engine.load_all()
    assert seen == [
        ("a", False, {"a": State.LOADING, "b": State.LOADING}),
        ("b", False, {"a": State.READY, "b": State.LOADING}),
    ]
    assert engine.ready()
    engine.close(drain_seconds=PATIENCE)


def test_draining_ends_readiness_and_nothing_else(toy_repository: Path, load: Load) -> None:
    engine = load(toy_repository)
    engine.drain()
    assert not engine.ready()
    assert not engine.ready("toy")
    assert engine.submit(wish()).result(PATIENCE)


def test_closing_answers_what_was_accepted_and_refuses_what_comes_later(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 10\nqueue_rows = 100")
    engine = load(tmp_path)
    accepted = [engine.submit(wish()) for _ in range(7)]
    began = time.monotonic()
    engine.close(drain_seconds=PATIENCE)
    assert time.monotonic() - began < 5, "a closing queue waits for no company"
    assert all(future.result(0).outputs["class"].shape == (1,) for future in accepted)
    with pytest.raises(ModelNotReady, match="shut down"):
        engine.submit(wish())
    assert states(engine) == {"toy": State.UNAVAILABLE}
    engine.close(drain_seconds=PATIENCE)  # a second time does nothing


def test_requests_that_race_with_closing_are_answered_or_refused_but_never_forgotten(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_rows = 100000")
    engine = load(tmp_path)
    accepted: list[Answer[InferResponse]] = []
    running = threading.Event()

    def ask() -> None:
        while True:
            try:
                accepted.append(engine.submit(wish()))
            except ModelNotReady:
                return
            running.set()

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for client in clients:
        client.start()
    assert running.wait(PATIENCE)
    engine.close(drain_seconds=PATIENCE)
    for client in clients:
        client.join(PATIENCE)
        assert not client.is_alive()
    assert all(future.result(PATIENCE) for future in accepted)


def test_a_version_that_was_being_opened_while_the_engine_closed_is_not_served(
    toy_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(Repository(toy_repository), Metrics())
    opened: list[ServedVersion] = []
    real = ServedVersion.open

    def close_meanwhile(version, config, metrics, lenders):  # type: ignore[no-untyped-def]
        opened.append(real(version, config, metrics, lenders))
        engine.close(drain_seconds=0)
        return opened[-1]

    monkeypatch.setattr(ServedVersion, "open", close_meanwhile)
    engine.load_all()
    assert states(engine) == {"toy": State.UNAVAILABLE}
    assert not engine.ready()
    with pytest.raises(ModelNotReady):
        opened[0].submit(wish())


def test_the_metrics_show_the_one_state_a_version_is_in(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path, "toy")
    (toys.publish(tmp_path, "broken").path / "model.onnx").unlink()
    metrics = Metrics()
    engine = load(tmp_path, metrics=metrics)

    def shown(model: str) -> set[str]:
        value = metrics.registry.get_sample_value
        labels = {"model": model, "version": "1"}
        return {state for state in State if value("sameway_model_state", {**labels, "state": state.lower()}) == 1}

    assert (shown("toy"), shown("broken")) == ({State.READY}, {State.UNAVAILABLE})
    engine.close(drain_seconds=PATIENCE)
    assert shown("toy") == {State.UNAVAILABLE}


def test_a_closed_engine_opens_nothing_more(tmp_path: Path) -> None:
    toys.publish(tmp_path, "first")
    toys.publish(tmp_path, "second")
    engine = LocalEngine(Repository(tmp_path), Metrics())
    engine.close(drain_seconds=0)
    engine.load_all()
    assert set(states(engine).values()) == {State.LOADING}


def test_a_version_loaded_again_takes_the_place_of_the_old_one_and_unloading_frees_it(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path, seed=0)
    engine = load(tmp_path)
    toys.publish(tmp_path, seed=1)
    engine.management.load("toy").result(PATIENCE)
    response = engine.submit(wish()).result(PATIENCE)
    expected = toys.reference(toys.images(1), seed=1)
    assert response.version == 2
    np.testing.assert_allclose(response.outputs["probabilities"], expected["probabilities"], atol=1e-5)
    engine.management.unload("toy").result(PATIENCE)
    with pytest.raises(ModelNotReady, match="unloaded"):
        engine.submit(wish())
    engine.management.load("toy").result(PATIENCE)
    assert engine.submit(wish()).result(PATIENCE).version == 2


def test_a_reload_that_fails_leaves_the_old_version_serving(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path)
    engine = load(tmp_path)
    (toys.publish(tmp_path).path / "model.onnx").write_bytes(b"altered")
    with pytest.raises(ModelNotReady, match="version 1 serves on"):
        engine.management.load("toy").result(PATIENCE)
    assert engine.submit(wish()).result(PATIENCE).version == 1


def test_a_model_published_later_can_be_loaded_by_name(toy_repository: Path, tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path, "first")
    engine = load(tmp_path)
    toys.publish(tmp_path, "second")
    engine.management.load("second").result(PATIENCE)
    assert engine.submit(wish("second")).result(PATIENCE).model == "second"
    with pytest.raises(ModelNotFound):
        engine.management.load("third")


def test_statistics_count_rows_and_batches(toy_repository: Path, load: Load) -> None:
    engine = load(toy_repository)
    for count in (1, 3):
        engine.submit(wish(count=count)).result(PATIENCE)
    (statistics,) = engine.statistics("toy")
    assert (statistics.inference_count, statistics.execution_count) == (4, 2)
    assert statistics.durations["queue"].count == statistics.durations["compute_infer"].count == 2
    assert set(statistics.batches) == {1, 3}
