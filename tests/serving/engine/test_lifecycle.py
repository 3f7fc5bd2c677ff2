from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.repository import Repository
from serving.engine import wanted
from serving.engine.base import State
from serving.engine.lifecycle import Lifecycle
from serving.engine.local import LocalEngine
from serving.errors import ModelNotFound, ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest
from tests import toys
from tests.serving.sessions import PATIENCE

Load = Callable[..., LocalEngine]


def configure(root: Path, text: str) -> None:
    (root / "toy" / "config.toml").write_text(text)


def states(engine: LocalEngine) -> dict[int | None, State]:
    return {status.version: status.state for status in engine.index()}


def says(engine: LocalEngine, version: int | None) -> int:
    """Return which seed's weights answer, found by their answer, and check that the answer names its version."""
    response = engine.submit(InferRequest("toy", version, {"image": toys.images(1)})).result(PATIENCE)
    for seed in range(4):
        expected = toys.reference(toys.images(1), seed=seed)["probabilities"]
        if np.allclose(response.outputs["probabilities"], expected, atol=1e-5):
            assert response.version == seed + 1
            return seed
    raise AssertionError("nobody's answer")


def failures(metrics: Metrics) -> float | None:
    """Return how many loads of the model have failed, as /metrics tells it."""
    return metrics.registry.get_sample_value("sameway_load_failures_total", {"model": "toy"})


def life(engine: LocalEngine) -> Lifecycle:
    assert isinstance(engine.management, Lifecycle)
    return engine.management


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for seed in range(3):
        toys.publish(tmp_path, seed=seed)
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "served"), [('"all"', [1, 2, 3]), ("{ latest = 2 }", [2, 3]), ("[3, 1]", [1, 3]), ("[1]", [1])]
)
def test_the_versions_that_the_policy_chooses_answer_under_their_own_numbers(
    three: Path, load: Load, policy: str, served: list[int]
) -> None:
    configure(three, f"versions = {policy}")
    engine = load(three)
    assert states(engine) == dict.fromkeys(served, State.READY)
    for number in (1, 2, 3):
        if number in served:
            assert says(engine, number) == number - 1
            assert engine.metadata("toy", number).versions == tuple(served)
        else:
            with pytest.raises(ModelNotFound):
                says(engine, number)
    assert says(engine, None) == max(served) - 1
    assert [one.version for one in engine.statistics("toy")] == served


def test_a_specific_version_that_is_not_published_is_named(three: Path, load: Load) -> None:
    configure(three, "versions = [4]")
    engine = load(three)
    assert states(engine) == {None: State.UNAVAILABLE}
    with pytest.raises(ModelNotReady, match=r"expected some of \[1, 2, 3\], found 4"):
        says(engine, None)


def test_an_older_version_stands_in_at_the_start_for_the_newest_that_cannot_be_opened(three: Path, load: Load) -> None:
    for number in (2, 3):
        (three / "toy" / str(number) / "model.onnx").write_bytes(b"altered")
    engine = load(three)
    assert {status.version: status.state for status in engine.index()} == {
        1: State.READY,
        2: State.UNAVAILABLE,
        3: State.UNAVAILABLE,
    }
    assert engine.metadata("toy").version == 1


def test_of_many_versions_that_cannot_be_opened_only_a_few_are_tried(three: Path, load: Load) -> None:
    for number in (2, 3, *(toys.publish(three).manifest.version for _ in range(3))):
        (three / "toy" / str(number) / "model.onnx").write_bytes(b"altered")
    toys.publish(three, "zebra")
    metrics = Metrics()
    engine = load(three, metrics=metrics)
    assert [status.version for status in engine.index() if status.name == "toy"] == [3, 4, 5, 6]
    assert failures(metrics) == 4
    assert not engine.ready("toy")
    assert engine.ready("zebra")


def test_for_two_that_are_wanted_two_older_ones_stand_in(three: Path, load: Load) -> None:
    toys.publish(three, seed=3)
    configure(three, "versions = { latest = 2 }")
    for number in (2, 4):
        (three / "toy" / str(number) / "model.onnx").write_bytes(b"altered")
    engine = load(three)
    assert states(engine) == {1: State.READY, 2: State.UNAVAILABLE, 3: State.READY, 4: State.UNAVAILABLE}


def test_a_fault_of_ours_in_finding_a_stand_in_leaves_the_other_models_alone(
    three: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.publish(three, "zebra")
    (three / "toy" / "3" / "model.onnx").write_bytes(b"altered")

    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(wanted, "_stand_in", fault)
    engine = load(three)
    assert not life(engine).loading
    assert engine.ready()
    assert not engine.ready("toy")
    assert engine.ready("zebra")


def test_no_other_version_stands_in_for_one_that_is_named(three: Path, load: Load) -> None:
    (three / "toy" / "config.toml").write_text("versions = [3]")
    (three / "toy" / "3" / "model.onnx").write_bytes(b"altered")
    engine = load(three)
    assert {status.version: status.state for status in engine.index()} == {3: State.UNAVAILABLE}


def test_one_version_that_cannot_be_opened_at_the_start_leaves_the_others_serving(three: Path, load: Load) -> None:
    configure(three, 'versions = "all"')
    (three / "toy" / "2" / "model.onnx").write_bytes(b"altered")
    engine = load(three)
    assert states(engine) == {1: State.READY, 2: State.UNAVAILABLE, 3: State.READY}
    assert (says(engine, None), says(engine, 1)) == (2, 0)
    with pytest.raises(ModelNotReady, match=r"model\.onnx"):
        says(engine, 2)


def test_what_has_not_changed_is_not_opened_again(three: Path, load: Load) -> None:
    configure(three, "versions = { latest = 2 }")
    engine = load(three)
    before = dict(life(engine).table.versions("toy"))
    engine.management.load("toy").result(PATIENCE)
    assert dict(life(engine).table.versions("toy")) == before
    toys.publish(three, seed=3)
    engine.management.load("toy").result(PATIENCE)
    after = life(engine).table.versions("toy")
    assert (set(after), after[3]) == ({3, 4}, before[3])
    assert states(engine) == {3: State.READY, 4: State.READY}


def test_a_changed_configuration_opens_the_same_version_anew(three: Path, load: Load) -> None:
    engine = load(three)
    says(engine, None)
    configure(three, "timeout_seconds = 3")
    engine.management.load("toy").result(PATIENCE)
    assert engine.metadata("toy").timeout_seconds == 3
    assert says(engine, None) == 2
    (statistics,) = engine.statistics("toy")
    assert statistics.execution_count == 2, "it is the same version, and counts on"


def test_of_several_versions_that_are_wanted_either_all_come_or_none(three: Path, load: Load) -> None:
    engine = load(three)
    before = life(engine).table.versions("toy")
    configure(three, 'versions = "all"')
    (three / "toy" / "1" / "manifest.json").unlink()
    with pytest.raises(ModelNotReady, match="version 3 serves on: version 1: "):
        engine.management.load("toy").result(PATIENCE)
    assert life(engine).table.versions("toy") == before
    assert states(engine) == {1: State.UNAVAILABLE, 3: State.READY}
    configure(three, "")
    engine.management.load("toy").result(PATIENCE)
    assert states(engine) == {3: State.READY}, "what is not wanted any more is not in the index either"


def test_what_is_prepared_answers_nobody_before_it_is_committed(three: Path, load: Load) -> None:
    engine = load(three)
    prepared = life(engine).prepare("toy", (1, 2)).result(PATIENCE)
    assert states(engine)[3] is State.READY
    assert says(engine, None) == 2
    with pytest.raises(ModelNotReady):
        says(engine, 2)
    life(engine).commit(prepared).result(PATIENCE)
    assert states(engine) == {1: State.READY, 2: State.READY}
    assert says(engine, None) == 1


def test_what_is_discarded_leaves_nothing_behind(three: Path, load: Load) -> None:
    metrics = Metrics()
    engine = load(three, metrics=metrics)
    prepared = life(engine).prepare("toy", (2, 3)).result(PATIENCE)
    life(engine).discard(prepared).result(PATIENCE)
    assert states(engine) == {3: State.READY}
    assert says(engine, None) == 2
    assert 'version="2"' not in metrics.exposition().decode()


def test_a_reload_that_fails_closes_what_it_had_opened(three: Path, load: Load) -> None:
    engine = load(three)
    configure(three, 'versions = "all"')
    (three / "toy" / "2" / "golden.npz").write_bytes(b"x")
    with pytest.raises(ModelNotReady, match="version 2: "):
        engine.management.load("toy").result(PATIENCE)
    assert states(engine) == {2: State.UNAVAILABLE, 3: State.READY}


def test_a_process_can_be_told_what_to_load(three: Path) -> None:
    toys.publish(three, "idle")
    engine = LocalEngine(Repository(three), Metrics())
    engine.load_all({"toy": (1, 2)})
    try:
        found = {(status.name, status.version): (status.state, status.reason) for status in engine.index()}
        assert found == {
            ("toy", 1): (State.READY, ""),
            ("toy", 2): (State.READY, ""),
            ("idle", None): (State.UNAVAILABLE, "unloaded"),
        }
        assert engine.ready()
    finally:
        engine.close(drain_seconds=PATIENCE)


def test_what_is_wanted_and_served_nowhere_as_others_cannot_open_it_says_so(three: Path, load: Load) -> None:
    engine = load(three)
    prepared = life(engine).prepare("toy", (2,), (3, 4)).result(PATIENCE)
    life(engine).commit(prepared).result(PATIENCE)
    assert states(engine) == {2: State.READY, 3: State.UNAVAILABLE, 4: State.UNAVAILABLE}
    assert says(engine, None) == 1
    with pytest.raises(ModelNotReady, match="another process of this server could not open it"):
        says(engine, 3)
    engine.management.load("toy").result(PATIENCE)
    assert states(engine) == {3: State.READY}


def test_a_process_can_be_told_what_not_to_try(three: Path) -> None:
    toys.publish(three, "late")
    engine = LocalEngine(Repository(three), Metrics())
    engine.load_all({"toy": (1, 2)}, {"toy": (2, 3), "late": (), "other": (7,)})
    try:
        found = {(status.name, status.version): (status.state, status.reason) for status in engine.index()}
        elsewhere = (State.UNAVAILABLE, "another process of this server could not open it")
        assert found == {
            ("toy", 1): (State.READY, ""),
            ("toy", 2): (State.READY, ""),
            ("toy", 3): elsewhere,
            ("late", None): elsewhere,
        }
    finally:
        engine.close(drain_seconds=PATIENCE)


def test_a_model_that_comes_before_loading_begins_is_loaded_too(three: Path) -> None:
    engine = LocalEngine(Repository(three), Metrics())
    toys.publish(three, "late")
    engine.load_all()
    try:
        assert engine.ready("late")
    finally:
        engine.close(drain_seconds=PATIENCE)


def test_the_configuration_of_a_model_that_serves_may_become_wrong(three: Path, load: Load) -> None:
    metrics = Metrics()
    engine = load(three, metrics=metrics)
    configure(three, "versions = 7")
    assert failures(metrics) == 0
    with pytest.raises(ModelNotReady, match=r"version 3 serves on: config\.toml: versions"):
        engine.management.load("toy").result(PATIENCE)
    assert says(engine, None) == 2
    assert failures(metrics) == 1
    configure(three, "")
    engine.management.load("toy").result(PATIENCE)
    assert failures(metrics) == 1


def test_a_version_that_cannot_be_opened_is_a_load_that_failed_at_the_start_and_later(three: Path, load: Load) -> None:
    configure(three, 'versions = "all"')
    (three / "toy" / "2" / "model.onnx").write_bytes(b"broken")
    metrics = Metrics()
    engine = load(three, metrics=metrics)
    assert failures(metrics) == 1
    with pytest.raises(ModelNotReady, match="version 2"):
        engine.management.load("toy").result(PATIENCE)
    assert failures(metrics) == 2


def test_unloading_takes_every_version_and_loading_brings_them_back(three: Path, load: Load) -> None:
    configure(three, 'versions = "all"')
    engine = load(three)
    engine.management.unload("toy").result(PATIENCE)
    assert states(engine) == {3: State.UNAVAILABLE}
    assert not engine.ready()
    engine.management.unload("toy").result(PATIENCE)
    engine.management.load("toy").result(PATIENCE)
    assert states(engine) == {1: State.READY, 2: State.READY, 3: State.READY}


def test_who_asks_a_process_that_is_about_to_end_is_told_to_come_back(three: Path, load: Load) -> None:
    engine = load(three)
    engine.abandon()
    with pytest.raises(ModelNotReady, match="about to end") as refused:
        says(engine, None)
    assert refused.value.retry_after_seconds == 1
    assert State.READY not in states(engine).values()


def test_a_batch_that_hangs_makes_its_model_not_ready_and_the_process_not_alive(three: Path, load: Load) -> None:
    toys.publish(three, "other")
    engine = load(three)
    served = life(engine).table.find("toy", None)
    assert served is not None
    assert engine.alive()
    served.runs_for = lambda now: 31.0  # type: ignore[method-assign]
    assert engine.hangs_for() == pytest.approx(1.0)
    assert not engine.alive()
    assert not engine.ready("toy")
    assert engine.ready("other")
    with pytest.raises(ModelNotReady, match="a batch runs for more than 30 s"):
        says(engine, None)
    assert {status.reason for status in engine.index() if status.name == "toy"} == {"a batch runs for more than 30 s"}
    served.runs_for = lambda now: 0.0  # type: ignore[method-assign]
    assert engine.alive()
    assert says(engine, None) == 2


def test_a_batch_that_hangs_in_a_version_that_was_replaced_is_seen_too(three: Path, load: Load) -> None:
    configure(three, "timeout_seconds = 0.05")
    engine = load(three)
    old = life(engine).table.find("toy", None)
    assert old is not None
    running = {"for": 31.0}
    old.runs_for = lambda now: running["for"]  # type: ignore[method-assign]
    old.close = lambda *, drain_seconds: False  # type: ignore[method-assign]
    toys.publish(three, seed=3)
    engine.management.load("toy").result(PATIENCE)
    assert engine.ready("toy")
    assert engine.hangs_for() == pytest.approx(1.0)
    running["for"] = 0.0
    assert engine.hangs_for() == 0
    assert engine.alive()


def test_a_configuration_that_nobody_foresaw_leaves_the_other_models_alone(three: Path, load: Load) -> None:
    toys.publish(three, "other")
    configure(three, "queue_rows = 0x" + "F" * 5_000)
    engine = load(three)
    assert engine.ready("other")
    assert not engine.ready("toy")
    (status,) = [status for status in engine.index() if status.name == "toy"]
    assert "queue_rows: expected 1 to" in status.reason


def test_statistics_asked_for_while_a_version_is_freed_leave_it_out(three: Path, load: Load) -> None:
    metrics = Metrics()
    engine = load(three, metrics=metrics)
    metrics.retire("toy", 3)  # what a swap does between the table's being read and its figures
    assert engine.statistics("toy") == []
