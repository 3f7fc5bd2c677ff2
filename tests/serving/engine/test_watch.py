import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from models.repository import Repository
from serving.engine.local import LocalEngine
from serving.engine.watch import Watch, fingerprint
from serving.errors import ModelNotFound, ModelNotReady, ServingError
from serving.request import InferRequest
from tests import toys
from tests.serving.sessions import PATIENCE

Load = Callable[..., LocalEngine]


class Notes:
    """Management that only writes down what it is asked to do."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, str]] = []

    def load(self, model: str) -> "Future[None]":
        self.acts.append(("load", model))
        if model == "unknown":
            raise ModelNotFound("unknown")
        return Future()

    def unload(self, model: str) -> "Future[None]":
        self.acts.append(("unload", model))
        return Future()


def watching(root: Path, notes: Notes, models: tuple[str, ...] | None = None) -> Watch:
    return Watch(Repository(root), notes, models=models, seconds=60)


def test_what_is_there_at_the_beginning_is_no_change(toy_repository: Path) -> None:
    notes = Notes()
    watch = watching(toy_repository, notes)
    assert (watch.step(), watch.step(), notes.acts) == ([], [], [])


def test_a_change_is_acted_on_once_when_it_has_come_to_rest(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    notes = Notes()
    watch = watching(tmp_path, notes)
    folder = toys.publish(tmp_path).path
    assert watch.step() == [], "it may not be whole yet"
    (folder / "model.onnx").write_bytes(b"still being copied")
    assert watch.step() == []
    assert watch.step() == ["toy"]
    assert (watch.step(), notes.acts) == ([], [("load", "toy")])


@pytest.mark.parametrize(
    "change",
    [
        lambda toy: (toy / "config.toml").write_text("instances = 2"),
        lambda toy: shutil.rmtree(toy / "1"),
        lambda toy: (toy / "1" / "golden.npz").unlink(),
        lambda toy: os.utime(toy / "1" / "model.onnx", ns=(0, 0)),
    ],
    ids=["configured", "a version removed", "a file removed", "a file touched"],
)
def test_every_change_of_a_model_is_seen(tmp_path: Path, change: Callable[[Path], object]) -> None:
    toys.publish(tmp_path)
    toys.publish(tmp_path)
    before = fingerprint(tmp_path / "toy")
    change(tmp_path / "toy")
    assert fingerprint(tmp_path / "toy") != before


def test_a_new_model_is_loaded_and_one_that_is_gone_unloaded(tmp_path: Path) -> None:
    toys.publish(tmp_path, "old")
    notes = Notes()
    watch = watching(tmp_path, notes)
    toys.publish(tmp_path, "new")
    shutil.rmtree(tmp_path / "old")
    watch.step()
    watch.step()
    assert notes.acts == [("load", "new"), ("unload", "old")]


def test_only_the_models_that_are_served_are_watched(tmp_path: Path) -> None:
    toys.publish(tmp_path, "mine")
    notes = Notes()
    watch = watching(tmp_path, notes, models=("mine",))
    toys.publish(tmp_path, "other")
    toys.publish(tmp_path, "mine")
    watch.step()
    watch.step()
    assert notes.acts == [("load", "mine")]


def test_a_model_that_nobody_knows_and_a_staging_folder_disturb_nobody(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    notes = Notes()
    watch = watching(tmp_path, notes)
    toys.publish(tmp_path, "unknown")
    with Repository(tmp_path).staging("toy") as staged:
        (staged / "model.onnx").write_bytes(b"x")
        watch.step()
        assert watch.step() == ["unknown"]
        assert watch.step() == []


def test_a_repository_that_is_gone_for_a_moment_unloads_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    toys.publish(root)
    notes = Notes()
    watch = Watch(Repository(root), notes, models=None, seconds=0.001)
    root.rename(tmp_path / "away")
    watch.start()
    threading.Event().wait(0.02)
    (tmp_path / "away").rename(root)
    watch.stop()
    assert notes.acts == []


def test_a_published_version_is_served_and_a_broken_one_is_not_tried_again(tmp_path: Path, load: Load) -> None:
    toys.publish(tmp_path)
    engine = load(tmp_path)
    watch = Watch(Repository(tmp_path), engine.management, models=None, seconds=60)

    def settle() -> list[str]:
        watch.step()
        changed = watch.step()
        # One thread manages: what is asked of it next is done after what the watch has asked.
        with contextlib.suppress(ServingError):
            engine.management.prepare("toy", ()).result(PATIENCE)
        return changed

    def version() -> int:
        return engine.submit(InferRequest("toy", None, {"image": toys.images(1)})).result(PATIENCE).version

    (toys.publish(tmp_path).path / "model.onnx").write_bytes(b"broken")
    assert settle() == ["toy"]
    assert version() == 1
    assert settle() == []
    toys.publish(tmp_path)
    assert settle() == ["toy"]
    assert version() == 3
    engine.management.unload("toy").result(PATIENCE)
    assert settle() == []
    with pytest.raises(ModelNotReady, match="unloaded"):
        version()
    shutil.rmtree(tmp_path / "toy")
    assert settle() == ["toy"]
    with pytest.raises(ModelNotFound):
        version()
    assert engine.index() == []
