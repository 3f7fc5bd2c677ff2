import threading
from pathlib import Path

import pytest

from models.repository import Repository
from serving.engine.base import State
from serving.engine.local import LocalEngine
from serving.engine.openings import Openings, OpeningTooLong
from serving.engine.served import ServedVersion
from serving.errors import ModelNotReady
from serving.metrics import Metrics
from serving.request import InferRequest
from tests import toys
from tests.serving.sessions import PATIENCE


class Closes:
    """A version of which only its closing is looked at."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self, *, drain_seconds: float) -> bool:
        self.closed.set()
        return drain_seconds == 0


def test_what_is_open_in_time_is_returned_and_what_is_raised_is_raised() -> None:
    openings: Openings[Closes] = Openings(PATIENCE)
    version = Closes()
    assert openings.run(lambda: version) is version
    for error in (ValueError("no"), TimeoutError("its own")):

        def fail(error: Exception = error) -> Closes:
            raise error

        with pytest.raises(type(error), match=str(error)):
            openings.run(fail)


def test_what_takes_too_long_is_given_up_and_closed_when_it_ends_after_all() -> None:
    goes_on = threading.Event()
    version = Closes()

    def slow() -> Closes:
        assert goes_on.wait(PATIENCE)
        return version

    with pytest.raises(OpeningTooLong, match=r"more than 0\.01 s"):
        Openings[Closes](0.01).run(slow)
    assert not version.closed.is_set()
    goes_on.set()
    assert version.closed.wait(PATIENCE)


def test_a_model_whose_opening_hangs_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and when it is loaded; the model itself serves on as it was."""
    for name in ("a", "b", "c"):
        toys.publish(tmp_path, name)
    goes_on = threading.Event()
    hangs = {"b"}
    real = ServedVersion.open

    def hang(version, config, metrics, lenders):  # type: ignore[no-untyped-def]
        if version.model in hangs:
            goes_on.wait(PATIENCE)
        return real(version, config, metrics, lenders)

    monkeypatch.setattr(ServedVersion, "open", hang)
    engine = LocalEngine(Repository(tmp_path), Metrics(), opening_seconds=0.2)
    engine.load_all()
    try:
        found = {status.name: (status.state, status.reason) for status in engine.index()}
        assert [found[name][0] for name in "abc"] == [State.READY, State.UNAVAILABLE, State.READY]
        assert found["b"][1] == "opening it takes more than 0.2 s, and is given up"
        assert engine.ready()
        hangs.add("c")
        toys.publish(tmp_path, "c")
        with pytest.raises(ModelNotReady, match="version 1 serves on: version 2: opening it takes more than"):
            engine.management.load("c").result(PATIENCE)
        assert engine.submit(InferRequest("c", None, {"image": toys.images(1)})).result(PATIENCE).version == 1
        hangs.clear()
        engine.management.load("b").result(PATIENCE)
        assert engine.ready("b")
    finally:
        goes_on.set()
        engine.close(drain_seconds=PATIENCE)
