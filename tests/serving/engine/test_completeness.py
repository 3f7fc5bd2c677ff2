from pathlib import Path

import pytest

from serving.counters import Counters
from serving.engine.base import ModelStatus, State
from serving.engine.completeness import missing, note
from serving.metrics import Metrics
from serving.protocols.readiness import Readiness
from tests import toys
from tests.serving.remotes import rig


def process(counters: Counters, region: int = 0) -> Metrics:
    return Metrics(Counters(descriptor=counters.descriptor), region=region)


def test_a_model_of_which_a_version_is_not_served_is_missing_and_one_that_nobody_wants_is_not() -> None:
    index = [
        ModelStatus("whole", 1, State.READY, ""),
        ModelStatus("half", 1, State.READY, ""),
        ModelStatus("half", 2, State.UNAVAILABLE, "altered"),
        ModelStatus("coming", None, State.LOADING, "waiting"),
        ModelStatus("gone", 3, State.UNAVAILABLE, "unloaded"),
    ]
    assert missing(index) == ("coming", "half")


def test_a_server_is_complete_once_all_of_its_processes_serve_everything_and_stays_so() -> None:
    counters = Counters.shared(2)
    first = process(counters)
    first.tell("toy", 1, state="READY")
    counters.expect(1)
    note(first)
    assert not first.was_complete(), "another process has yet to load"
    second = process(counters, 1)
    second.tell("toy", 1, state="UNAVAILABLE", reason="altered")
    second.loaded()
    note(first)
    assert not first.was_complete()
    second.tell("toy", 1, state="READY", reason="")
    note(second)
    assert first.was_complete()
    for number in (0, 1):
        counters.leave(number)
    later = process(counters, 1)
    later.tell("toy", 1, state="UNAVAILABLE", reason="altered")
    note(later)
    assert later.was_complete()


@pytest.mark.parametrize("state", [None, "UNAVAILABLE"])
def test_a_server_that_serves_nothing_is_not_complete(state: str | None) -> None:
    metrics = Metrics()
    if state is not None:
        metrics.tell("toy", None, state=state, reason="unloaded")
    note(metrics)
    assert not metrics.was_complete()


def test_an_engine_that_ends_while_its_front_end_believes_in_it_completes_nothing(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (toys.publish(tmp_path, "broken").path / "model.onnx").write_bytes(b"altered")
    with rig(tmp_path) as made:
        ready = Readiness(made.remote, every_model=True)
        assert not ready()
        made.counters.leave(0)  # by the supervisor, before the front end reads that the connection has ended
        assert made.remote.ready()
        assert made.remote.index() == []
        assert not ready()
        made.host.die()
        made.replace_host()
        assert not ready()
        assert ready.missing == ("broken",)


def test_a_front_end_that_learns_of_the_models_last_finds_the_server_complete(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    with rig(tmp_path, load=False) as made:
        made.counters.expect(1)
        made.host.load()
        assert not made.remote.was_complete()
        made.host.die()
        made.replace_host()
        assert made.remote.was_complete()
