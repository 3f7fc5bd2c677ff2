import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.content import ImageContent
from models.repository import Repository
from models.tensors import Signature, SignatureError
from serving.backends.base import AS_EXPORTED, ArtifactFile, BackendError, Execution, Session
from serving.backends.executors import Eager, record
from serving.backends.onnx import OnnxBackend
from serving.backends.pipeline import Pipeline
from serving.engine.replay import ReplayError
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.errors import DeadlineExceeded, InvalidInput, ModelNotReady, Overloaded
from serving.metrics import Metrics
from serving.model_config import ConfigError, ModelConfig
from serving.request import InferRequest
from tests import toys
from tests.serving.backends.lazy_device import Again, lanes, memory
from tests.serving.sessions import PATIENCE, FakeSession, Gate

Open = Callable[..., ServedVersion]


@pytest.fixture
def version(toy_repository: Path) -> Servable:
    return Servable.published(Repository(toy_repository).open("toy", 1))


@pytest.fixture
def opened(version: Servable) -> Iterator[Open]:
    """Open the toy with some configuration; it is closed after the test."""
    served: list[ServedVersion] = []

    def begin(metrics: Metrics | None = None, **config: object) -> ServedVersion:
        served.append(ServedVersion.open(version, ModelConfig(**config), metrics or Metrics()))  # type: ignore[arg-type]
        return served[-1]

    yield begin
    for one in served:
        one.close(drain_seconds=PATIENCE)


def held(version: Servable, gate: Gate, **config: object) -> ServedVersion:
    """Return the toy around a session of the test's own."""
    given = ModelConfig(**config)  # type: ignore[arg-type]
    return ServedVersion(
        version, given, backend=OnnxBackend(), format="onnx", example={}, sessions=[gate], metrics=Metrics()
    )


def wish(count: int = 1, *, deadline: float | None = None, outputs: tuple[str, ...] | None = None) -> InferRequest:
    return InferRequest("toy", 1, {"image": toys.images(count)}, deadline=deadline, outputs=outputs)


def toy_gate() -> Gate:
    """Return a session that answers as the toy does, once it is let."""
    return Gate(lambda inputs: toys.reference(inputs["image"]), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("instances", [1, 3])
def test_answers_are_those_of_the_reference(opened: Open, count: int, instances: int) -> None:
    response = opened(instances=instances).submit(wish(count)).result(PATIENCE)
    expected = toys.reference(toys.images(count))
    np.testing.assert_allclose(response.outputs["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(response.outputs["class"], expected["class"])


def test_metadata_say_what_the_manifest_says(opened: Open, version: Servable) -> None:
    metadata = opened(timeout_seconds=7.0).metadata
    assert (metadata.name, metadata.version, metadata.versions) == ("toy", 1, (1,))
    assert metadata.digest == version.digest
    assert metadata.signature == version.signature
    assert metadata.timeout_seconds == 7.0


def test_a_request_is_judged_alone_before_it_waits(opened: Open) -> None:
    served = opened()
    with pytest.raises(SignatureError, match="image"):
        served.submit(InferRequest("toy", 1, {"image": toys.images(1)[:, :2]}))
    with pytest.raises(SignatureError, match="1 to 8 rows"):
        served.submit(wish(9))
    with pytest.raises(InvalidInput, match="probabilities"):
        served.submit(wish(outputs=("probabilities", "nothing")))


def test_a_full_queue_refuses_and_leaves_those_who_wait_alone(version: Servable) -> None:
    gate = toy_gate()
    served = held(version, gate, queue_rows=8)
    running = served.submit(wish())
    assert gate.entered.wait(PATIENCE)
    waiting = [served.submit(wish()) for _ in range(8)]
    with pytest.raises(Overloaded):
        served.submit(wish())
    gate.opened.set()
    for future in (running, *waiting):
        assert future.result(PATIENCE).outputs["class"].shape == (1,)
    assert served.close(drain_seconds=PATIENCE)


def test_a_queue_smaller_than_the_largest_request_is_a_wrong_configuration(version: Servable) -> None:
    with pytest.raises(ConfigError, match="queue_rows: expected at least max_batch_size, 8, found 7"):
        ServedVersion.open(version, ModelConfig(queue_rows=7), Metrics())


def test_a_deadline_in_the_past_is_not_taken_for_none(opened: Open) -> None:
    with pytest.raises(DeadlineExceeded):
        opened().submit(wish(deadline=0.0)).result(PATIENCE)


def test_closing_finishes_what_was_accepted_and_refuses_the_rest(version: Servable) -> None:
    gate = toy_gate()
    served = held(version, gate)
    accepted = [served.submit(wish()) for _ in range(5)]
    assert gate.entered.wait(PATIENCE)
    assert not served.close(drain_seconds=0.0)
    with pytest.raises(ModelNotReady):
        served.submit(wish())
    assert not gate.closed  # its thread still uses it
    gate.opened.set()
    assert served.close(drain_seconds=PATIENCE)
    assert [future.result(0).outputs["class"].shape for future in accepted] == [(1,)] * 5
    assert gate.closed


def test_a_golden_sample_that_is_not_reproduced_closes_the_door(tmp_path: Path) -> None:
    wrong = toys.reference(toys.images(8, seed=99))
    wrong["probabilities"] = wrong["probabilities"][:, ::-1]
    version = Servable.published(toys.publish(tmp_path, golden=wrong))
    with pytest.raises(ReplayError, match="'probabilities' differs"):
        ServedVersion.open(version, ModelConfig(), Metrics())


def test_content_that_is_read_as_other_pixels_closes_the_door(version: Servable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageContent, "read", lambda *_: {"image": toys.images(1, seed=5)})
    with pytest.raises(ReplayError, match="read as other values"):
        ServedVersion.open(version, ModelConfig(), Metrics())


def test_where_one_session_fails_those_opened_before_it_are_closed(
    version: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FakeSession(lambda inputs: toys.reference(inputs["image"]), dtype=np.uint8)
    wrong = FakeSession(lambda inputs: toys.reference(inputs["image"], seed=1), dtype=np.uint8)
    sessions = iter([right, wrong])
    monkeypatch.setattr(OnnxBackend, "open", lambda *_, **__: next(sessions))
    with pytest.raises(ReplayError):
        ServedVersion.open(version, ModelConfig(instances=2), Metrics())
    assert right.closed
    assert wrong.closed


@pytest.mark.parametrize("format", ["torchscript", "tensorrt", ""])
def test_a_format_that_the_version_lacks_is_named(version: Servable, format: str) -> None:
    with pytest.raises(BackendError, match=r"expected one this version has \(onnx\)"):
        ServedVersion.open(version, ModelConfig(format=format), Metrics())


def test_the_configured_format_is_the_one_that_runs(toy_in_every_format: Path) -> None:
    every = Servable.published(Repository(toy_in_every_format).open("toy", 1))
    platforms = {
        "onnx": "onnx_onnxv1",
        "exported_program": "pytorch_exportedprogram",
        "torchscript": "pytorch_torchscript",
    }
    for format, platform in platforms.items():
        served = ServedVersion.open(every, ModelConfig(format=format), Metrics())
        assert (served.format, served.metadata.platform) == (format, platform)
        assert served.close(drain_seconds=PATIENCE)


def test_only_what_is_introduced_is_shown_in_the_metrics(opened: Open, version: Servable) -> None:
    metrics = Metrics()
    served = opened(metrics)
    labels = {"model": "toy", "version": "1", "format": "onnx", "digest": version.digest, "verified": "true"}
    assert metrics.registry.get_sample_value("sameway_model_info", labels) is None
    served.introduce()
    assert metrics.registry.get_sample_value("sameway_model_info", labels) == 1
    assert metrics.registry.get_sample_value("sameway_queue_rows", {"model": "toy", "version": "1"}) == 0


def test_giving_up_answers_what_runs_and_what_waits(version: Servable) -> None:
    gate = toy_gate()
    served = held(version, gate)
    running = served.submit(wish())
    assert gate.entered.wait(PATIENCE)
    waiting = served.submit(wish(2))
    assert served.runs_for(time.monotonic() + 5) > 4
    served.abandon()
    for future in (running, waiting):
        with pytest.raises(ModelNotReady):
            future.result(PATIENCE)
    with pytest.raises(ModelNotReady):
        served.submit(wish())
    gate.opened.set()
    assert served.close(drain_seconds=PATIENCE)


class Noting(OnnxBackend):
    """Opens on the CPU, whatever it is told, and notes what that was."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Execution]] = []

    def open(
        self, artifact: ArtifactFile, signature: Signature, *, device: str, threads: int, execution: Execution = AS_EXPORTED
    ) -> Session:
        self.told.append((device, execution))
        return super().open(artifact, signature, device="cpu", threads=threads)


def test_every_instance_is_opened_on_its_device_as_configured(version: Servable, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Noting()
    monkeypatch.setattr("serving.engine.served.backend_for", lambda format: backend)
    config = ModelConfig(instances=3, device=("cuda:0", "cuda:1"), precision="bf16", batch_buckets=(8,))
    ServedVersion.open(version, config, Metrics()).close(drain_seconds=PATIENCE)
    execution = Execution("bf16", (8,))
    assert backend.told == [("cuda:0", execution), ("cuda:1", execution), ("cuda:0", execution)]


def test_a_device_that_is_not_there_makes_no_version_that_is_slower(version: Servable) -> None:
    with pytest.raises(BackendError):
        ServedVersion.open(version, ModelConfig(device=("cuda:99",)), Metrics())


def test_batches_joined_in_staging_memory_are_answered_as_any_others(version: Servable) -> None:
    def toy(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = (image.flatten(1).float() / 255) @ torch.from_numpy(toys.weights())
        return logits.softmax(1), logits.argmax(1)

    signature = toys.signature()
    execute = record(Eager(toy), signature, (1, 2, 4, 8), memory=memory, recorder=Again)
    session = Pipeline(signature, lanes(), execute, buckets=(1, 2, 4, 8))
    served = ServedVersion(
        version, ModelConfig(queue_rows=500), backend=OnnxBackend(), format="onnx", example={}, sessions=[session],
        metrics=Metrics(),
    )  # fmt: skip
    batches = [toys.images(1 + seed % 4, seed=seed) for seed in range(150)]
    futures = [served.submit(InferRequest("toy", 1, {"image": pixels})) for pixels in batches]
    for pixels, future in zip(batches, futures, strict=True):
        expected, found = toys.reference(pixels), future.result(PATIENCE).outputs
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
        np.testing.assert_array_equal(found["class"], expected["class"])
    assert served.close(drain_seconds=PATIENCE)
