"""Versions that are not as they were published, or not configured as they may be: none is served, all say why."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.engine.base import State
from serving.engine.local import LocalEngine
from serving.engine.served import ServedVersion
from serving.errors import ModelNotReady
from serving.request import InferRequest
from tests import toys
from tests.serving.sessions import PATIENCE

Load = Callable[..., LocalEngine]


def wish(model: str = "toy", version: int | None = None, count: int = 1) -> InferRequest:
    return InferRequest(model, version, {"image": toys.images(count)})


def states(engine: LocalEngine) -> dict[str, State]:
    return {status.name: status.state for status in engine.index()}


def reason(engine: LocalEngine, model: str) -> str:
    return next(status.reason for status in engine.index() if status.name == model)


def alter_artifact(version: Path) -> None:
    data = bytearray((version / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (version / "model.onnx").write_bytes(data)


def truncate_artifact(version: Path) -> None:
    (version / "model.onnx").write_bytes((version / "model.onnx").read_bytes()[:-1])


def link_artifact(version: Path) -> None:
    (version / "model.onnx").rename(version / "elsewhere")
    (version / "model.onnx").symlink_to("elsewhere")


def configure(text: str) -> Callable[[Path], object]:
    return lambda version: (version.parent / "config.toml").write_text(text, encoding="utf-8")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "artifact altered": (alter_artifact, "model.onnx: expected sha256"),
    "artifact truncated": (truncate_artifact, "model.onnx: expected 5"),
    "artifact missing": (lambda version: (version / "model.onnx").unlink(), "model.onnx: No such file"),
    "artifact a link": (link_artifact, "model.onnx: expected a regular file"),
    "golden sample missing": (lambda version: (version / "golden.npz").unlink(), "golden.npz"),
    "manifest missing": (lambda version: (version / "manifest.json").unlink(), "manifest.json"),
    "manifest no JSON": (lambda version: (version / "manifest.json").write_text("{"), "manifest.json is not JSON"),
    "manifest a list": (lambda version: (version / "manifest.json").write_text("[]"), "expected an object"),
    "unknown key": (configure("instnaces = 2"), "found 'instnaces'"),
    "out of range": (configure("instances = 0"), "instances: expected 1 to 64, found 0"),
    "wrong type": (configure('threads = "2"'), "threads: expected a number, found '2'"),
    "not TOML": (configure("= = ="), "config.toml: "),
    "queue too small": (configure("queue_rows = 7"), "queue_rows: expected at least max_batch_size"),
    "format it lacks": (configure('format = "torchscript"'), "expected one this version has (onnx), found 'torchscript'"),
    "format nobody knows": (configure('format = "tensorrt"'), "found 'tensorrt'"),
    "format empty": (configure('format = ""'), "found ''"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_version_that_is_not_right_is_not_ready_says_why_and_leaves_others_alone(
    tmp_path: Path, load: Load, case: str
) -> None:
    breaks, why = BROKEN[case]
    breaks(toys.publish(tmp_path, "broken").path)
    toys.publish(tmp_path, "toy")
    engine = load(tmp_path)
    assert states(engine) == {"broken": State.UNAVAILABLE, "toy": State.READY}
    assert why in reason(engine, "broken")
    assert str(tmp_path) not in reason(engine, "broken"), "clients may read the reason"
    assert not engine.ready("broken")
    with pytest.raises(ModelNotReady, match="'broken' is not ready") as error:
        engine.submit(wish("broken"))
    assert error.value.retry_after_seconds is None  # it will not get better by itself
    assert engine.submit(wish()).result(PATIENCE).outputs["class"].shape == (1,)
    assert engine.ready()


def test_a_wrong_golden_sample_keeps_a_version_from_being_ready(tmp_path: Path, load: Load) -> None:
    wrong = toys.reference(toys.images(8, seed=99))
    wrong["class"] = (wrong["class"] + 1) % 3
    toys.publish(tmp_path, golden=wrong)
    engine = load(tmp_path)
    assert states(engine) == {"toy": State.UNAVAILABLE}
    assert "output 'class' differs" in reason(engine, "toy")


def test_a_model_without_a_version_says_so(tmp_path: Path, load: Load) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.toml").touch()
    engine = load(tmp_path)
    assert [(status.name, status.version, status.state) for status in engine.index()] == [("empty", None, State.UNAVAILABLE)]
    assert "no version" in reason(engine, "empty")
    assert not engine.ready()


def test_a_fault_of_ours_while_loading_does_not_stop_the_other_models(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.publish(tmp_path, "a")
    toys.publish(tmp_path, "b")
    real = ServedVersion.open

    def fail_for_a(version, config, metrics, lenders):  # type: ignore[no-untyped-def]
        if version.model == "a":
            raise ZeroDivisionError("secret")
        return real(version, config, metrics, lenders)

    monkeypatch.setattr(ServedVersion, "open", fail_for_a)
    engine = load(tmp_path)
    assert states(engine) == {"a": State.UNAVAILABLE, "b": State.READY}
    assert "secret" not in reason(engine, "a")
