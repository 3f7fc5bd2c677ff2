"""Formats that are judged by their task: made, judged, refused where they cost too much, published and replayed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import by_task, parity, reference
from export.by_task import HeldOut
from export.exporter import BY_TASK, ExportError, ExportSource, Options, Run, exporter_of
from export.publish import publish
from export.quantize import OnnxInt8Exporter
from export.subject import Subject
from export.verify import verify
from models.repository import Repository
from models.tasks import Classification, Novelty, Regression
from models.tensors import Array, Signature, Tensors, TensorSpec
from tests.export import checkpoints, modules
from training import scores

TASK = Classification(5, output="probabilities")


def held_out(source: ExportSource) -> HeldOut:
    """Return a split on which the eager model is right nine times in ten."""
    images = modules.classifier(rows=300).samples["image"]
    with torch.inference_mode():
        targets = source.module(torch.from_numpy(images.copy()))[1].numpy().copy()
    targets[::10] = (targets[::10] + 1) % 5
    return HeldOut(TASK, {"image": images}, targets)


def subject(**options: float) -> Subject:
    source = replace(modules.classifier(rows=50), options=Options(**options))  # type: ignore[arg-type]
    return Subject(
        "toy", source, checkpoints.spec().content, "0" * 64, checkpoints.ORIGIN,
        held_out=lambda: held_out(source), calibration=lambda: modules.classifier(rows=64).samples,
    )  # fmt: skip


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    one = subject()
    assert one.calibration is not None
    path = tmp_path_factory.mktemp("int8") / "model.int8.onnx"
    OnnxInt8Exporter().export(replace(one.source, calibration=one.calibration()), path)
    return path


def test_they_are_published_judged_and_replayed(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    publication = publish(subject(max_drop=0.2), repository, ["onnx", *sorted(BY_TASK)])
    assert publication.version is not None, [result.error or result.faults for result in publication.results]
    version = repository.open("toy", 1)
    for artifact in version.manifest.artifacts[1:]:
        task = artifact.parity.task
        assert task is not None
        assert (task.metric, task.samples, task.eager, task.most) == ("accuracy", 300, 0.9, 0.2)
        assert task.low <= task.drop <= task.high <= 0.2
        assert task.drop == pytest.approx(task.eager - task.artifact)
        seen = artifact.parity.outputs[0].max_absolute
        assert artifact.tolerance == {"probabilities": 2 * seen, "class": 0.0}
    assert version.manifest.artifacts[0].parity.task is None
    assert all(check.passed for check in verify(version))


def test_the_graph_computes_in_integers_by_channel_and_says_nothing_of_this_machine(int8: Path, tmp_path: Path) -> None:
    model = onnx.load(int8)
    kinds = {tensor.name: tensor for tensor in model.graph.initializer}
    integers = [tensor for tensor in kinds.values() if tensor.data_type == onnx.TensorProto.INT8]
    weights = [tensor for tensor in integers if len(tensor.dims) > 1]
    assert [len(tensor.dims) for tensor in weights] == [2], "the convolution has one input channel and stays in float32"
    scales = [tensor for tensor in kinds.values() if tensor.name.endswith("weight_scale")]
    assert any(list(scale.dims) in ([weights[0].dims[0]], [weights[0].dims[1]]) and scale.dims[0] > 1 for scale in scales)
    assert all(abs(int(value)) <= 64 for value in onnx.numpy_helper.to_array(weights[0]).ravel()), "7 bits"
    data = int8.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in data
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    one = subject()
    assert one.calibration is not None
    OnnxInt8Exporter().export(replace(one.source, calibration=one.calibration()), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == data, "the same samples give the same bytes"


def judged(path: Path, one: Subject, change: Callable[[Run], Run] = lambda run: run) -> by_task.Judgement:
    run = change(OnnxInt8Exporter().open(path, one.source.signature))
    sizes = parity.batch_sizes(one.source.signature)
    return by_task.judge(
        "onnx_int8", run, one.source, reference.measure(one.source), one.held_out, (), sizes=sizes
    )  # fmt: skip


def spoiled(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Run], Run]:
    def spoil(run: Run) -> Run:
        def answer(inputs: Tensors) -> dict[str, Array]:
            return change(run(inputs))

        return answer

    return spoil


def test_an_artifact_that_costs_too_much_is_refused(int8: Path) -> None:
    assert judged(int8, subject(max_drop=0.2)).faults == ()
    (fault,) = judged(int8, subject(max_drop=0.0)).faults
    assert fault.startswith("accuracy: 0.")
    assert "expected at most 0.00% at its upper end" in fault


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda found: {**found, "probabilities": found["probabilities"][:, ::-1]}, "probabilities: differs by"),
        (lambda found: {**found, "probabilities": found["probabilities"] * np.nan}, "probabilities: "),
        (lambda found: {**found, "probabilities": found["probabilities"].T}, "probabilities: expected shape"),
        (
            lambda found: {**found, "probabilities": found["probabilities"].astype(np.float16)},
            "probabilities: expected float32",
        ),
        (lambda found: {"class": found["class"]}, "probabilities: expected an output of this name"),
    ],
)
def test_what_does_not_resemble_the_model_is_refused_whatever_it_scores(
    int8: Path, change: Callable[[dict[str, Array]], dict[str, Array]], fault: str
) -> None:
    found = judged(int8, subject(max_drop=0.2), spoiled(change))
    assert found.faults[0].startswith(fault)
    assert not found.report.passed


def test_samples_on_which_it_decides_otherwise_are_not_golden(int8: Path) -> None:
    def turn_the_first(found: dict[str, Array]) -> dict[str, Array]:
        return {**found, "class": np.where(np.arange(len(found["class"])) == 0, 4 - found["class"], found["class"])}

    found = judged(int8, subject(max_drop=1.0), spoiled(turn_the_first))
    assert not found.agreeing[0], "alone it is always the first"
    assert found.faults == ()


def test_without_a_split_to_judge_it_by_it_is_not_published(tmp_path: Path) -> None:
    one = replace(subject(), held_out=None)
    publication = publish(one, Repository(tmp_path), ["onnx_fp16"])
    (result,) = publication.results
    assert result.error == (
        "onnx_fp16: not judged: expected a held-out split with targets, as models of this tree have, found none"
    )
    assert publication.version is None


def test_without_samples_to_calibrate_on_there_is_no_int8(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnx_int8: expected samples to calibrate on"):
        OnnxInt8Exporter().export(subject().source, tmp_path / "model.onnx")


@pytest.mark.parametrize("format", sorted(BY_TASK))
def test_a_graph_without_weights_gains_nothing_and_says_so(format: str, tmp_path: Path) -> None:
    class Same(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = image.flatten(1)[:, :5].float()
            return flat * flat, flat.argmax(-1)

    source = subject().source
    plain = replace(source, module=Same().eval(), calibration=source.samples)
    with pytest.raises(ExportError, match=rf"{format}: expected .*, found none; \d+ bits would gain nothing"):
        exporter_of(format).export(plain, tmp_path / "model.onnx")


def test_inputs_in_float32_stay_so_in_half_precision(tmp_path: Path) -> None:
    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.layers(x).softmax(-1),)

    torch.manual_seed(0)
    signature = Signature((TensorSpec("x", "FP32", (4,)),), (TensorSpec("y", "FP32", (3,)),), 8)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    source, exporter = ExportSource(Scores().eval(), signature, {"x": x}), exporter_of("onnx_fp16")
    exporter.export(source, tmp_path / exporter.filename)
    found = exporter.open(tmp_path / exporter.filename, signature)({"x": x})["y"]
    expected = source.module(torch.from_numpy(x))[0].detach().numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    assert (found != expected).any(), "it is not computed in float32"


def test_how_much_worse_in_shares_of_each_task() -> None:
    every = np.arange(4)
    targets = np.array([0, 1, 1, 0])
    right = np.eye(2, dtype=np.float32)[targets]
    wrong = right.copy()
    wrong[0] = wrong[0, ::-1]
    assert scores.drop(Classification(2, "y"), right, wrong, targets)(every) == 0.25
    truth = np.arange(4.0)
    assert scores.drop(Regression("y", "USD"), truth + 1, truth + 1.5, truth)(every) == pytest.approx(0.5)
    assert scores.drop(Novelty("y"), targets + 0.0, 1.0 - targets, targets)(every) == 1.0
