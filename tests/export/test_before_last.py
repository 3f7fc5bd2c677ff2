"""What softmax hides is found before it, in every format that lets itself be looked into."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export import before_last, parity, reference
from export.exporter import ExportSource, Run, exporter_of
from export.inner_values import NotFound, inner
from export.publish import publish
from export.subject import Subject
from models.repository import Repository
from models.tensors import Signature, TensorSpec, rows_of
from tests.export import checkpoints, modules
from tests.export.test_publish import tamper


def sizes(source: ExportSource) -> tuple[int, ...]:
    return parity.batch_sizes(source.signature)


def saved(format: str, source: ExportSource, folder: Path) -> tuple[Path, Run]:
    exporter = exporter_of(format)
    path = folder / exporter.filename
    exporter.export(source, path)
    return path, exporter.open(path, source.signature)


@pytest.mark.parametrize("format", modules.EQUAL)
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (modules.classifier, ["probabilities before softmax"]),
        (modules.listener, ["events before sigmoid"]),
        (modules.ranker, []),
        (modules.stateful, []),
    ],
)
def test_an_honest_file_passes_before_its_last_step_too(format: str, make: object, names: list[str], tmp_path: Path) -> None:
    assert callable(make)
    source = make()
    path, _ = saved(format, source, tmp_path)
    before = path.read_bytes()
    found = before_last.compare(path, reference.measure(source), sizes=sizes(source))
    assert (found.faults, found.notes) == ((), ())
    assert [output.output for output in found.outputs] == names
    for output in found.outputs:
        assert 0 < output.max_absolute <= output.tolerance
    assert path.read_bytes() == before


@pytest.mark.parametrize("format", modules.EQUAL)
def test_two_outputs_that_end_in_a_step_are_both_looked_into(format: str, tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.one(x).softmax(-1), self.other(x).sigmoid()

    torch.manual_seed(0)
    outputs = (TensorSpec("kinds", "FP32", (3,)), TensorSpec("marks", "FP32", (5,)))
    signature = Signature((TensorSpec("x", "FP32", (4,)),), outputs, 8)
    samples = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    source = ExportSource(Two().eval(), signature, {"x": samples})
    path, _ = saved(format, source, tmp_path)
    found = before_last.compare(path, reference.measure(source), sizes=sizes(source))
    assert (found.faults, found.notes) == ((), ())
    assert [output.output for output in found.outputs] == ["kinds before softmax", "marks before sigmoid"]


@pytest.mark.parametrize("format", modules.EQUAL)
@pytest.mark.parametrize("axis", [1, -2, 2])
def test_scores_are_compared_where_only_the_decision_is_an_output(format: str, axis: int, tmp_path: Path) -> None:
    def decide(weight: float) -> ExportSource:
        return modules.of(
            lambda x: ((x.reshape(-1, 2, 3) * weight).argmax(axis),),
            TensorSpec("label", "INT64", (3 if axis != 2 else 2,)),
            samples=modules.numbers(40, 6),
        )

    path, _ = saved(format, decide(2.0), tmp_path)
    measured = reference.measure(decide(2.0))
    found = before_last.compare(path, measured, sizes=(1, 8))
    assert (found.faults, found.notes) == ((), ())
    assert [output.output for output in found.outputs] == ["label before argmax"]
    path, run = saved(format, decide(2.1), tmp_path)
    assert parity.compare(format, run, measured, sizes=(1, 8)).faults == ()
    assert len(before_last.compare(path, measured, sizes=(1, 8)).faults) == 1


class Shifted(modules.Classifier):
    """Adds the same to all logits, which no probability shows."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = image.to(torch.float32).unsqueeze(1) / 255
        features = nn.functional.max_pool2d(self.normalisation(self.convolution(pixels)).relu(), 2)
        logits = 6 * self.linear(features.flatten(1)) + 0.01
        return logits.softmax(-1), logits.argmax(-1)


@pytest.mark.parametrize("format", modules.EQUAL)
def test_a_fault_that_softmax_hides_is_caught_before_it(format: str, tmp_path: Path) -> None:
    source = modules.classifier()
    faulty = Shifted().eval()
    faulty.load_state_dict(source.module.state_dict())
    path, run = saved(format, ExportSource(faulty, source.signature, source.samples), tmp_path)
    measured = reference.measure(source)
    assert parity.compare(format, run, measured, sizes=sizes(source)).faults == ()
    found = before_last.compare(path, measured, sizes=sizes(source))
    (fault,) = found.faults
    assert fault.startswith("probabilities before softmax: 800 of 800 values are off; worst: sample ")
    assert [output.passed for output in found.outputs] == [False]


def shift_the_bias(path: Path) -> None:
    """Add to the bias of the last layer of a saved ONNX file, for every class the same."""
    model = onnx.load(path)
    bias = next(one for one in model.graph.initializer if one.name == "linear.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    onnx.save(model, path)


def test_such_a_file_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, shift_the_bias)
    subject = Subject("toy", modules.classifier(), None, "c" * 64, checkpoints.ORIGIN)
    publication = publish(subject, Repository(tmp_path), ["onnx"])
    assert publication.version is None
    (result,) = publication.results
    assert [fault.split(":")[0] for fault in result.faults] == ["probabilities before softmax"]
    assert not result.passed
    assert result.artifact is not None
    assert all(output.passed for output in result.artifact.parity.outputs)


def test_a_last_step_made_of_other_operators_is_not_looked_at_and_that_is_said(tmp_path: Path) -> None:
    source = modules.classifier()
    path, _ = saved("onnx", source, tmp_path)
    model = onnx.load(path)
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    exponent = onnx.helper.make_node("LogSoftmax", softmax.input, ["logs"], axis=-1)
    model.graph.node.insert(list(model.graph.node).index(softmax), exponent)
    softmax.CopyFrom(onnx.helper.make_node("Exp", ["logs"], softmax.output))
    onnx.save(model, path)
    found = before_last.compare(path, reference.measure(source), sizes=[8])
    assert found == before_last.Inside(
        notes=("probabilities before softmax: not looked at: the last step is not in its graph",)
    )


def test_a_random_output_is_not_looked_into(tmp_path: Path) -> None:
    source = modules.of(
        lambda x: ((x + torch.rand_like(x)).softmax(1),), TensorSpec("y", "FP32", (3,)), samples=modules.numbers(40, 3)
    )
    path, _ = saved("torchscript", source, tmp_path)
    assert before_last.compare(path, reference.measure(source), sizes=sizes(source)) == before_last.Inside()


def test_logits_that_cannot_be_compared_are_no_fault_of_the_probabilities(tmp_path: Path) -> None:
    source = modules.of(
        lambda x: (((x * 1e-3 + 1e4) - 1e4).sigmoid(),), TensorSpec("y", "FP32", (3,)), samples=modules.numbers(40, 3)
    )
    path, _ = saved("torchscript", source, tmp_path)
    measured = reference.measure(source)
    found = before_last.compare(path, measured, sizes=sizes(source))
    assert found.faults == ()
    assert found.notes[0].startswith("y before sigmoid: not looked at: ill-conditioned: ")


@pytest.mark.parametrize("filename", ["model.onnx", "model.pt", "model.pt2", "model.bin"])
def test_a_file_that_cannot_be_taken_apart_is_one_line(filename: str, tmp_path: Path) -> None:
    path = tmp_path / filename
    path.write_bytes(b"no model")
    with pytest.raises(NotFound, match=r"^[^\n]+$"):
        inner(path, modules.classifier().signature, {"probabilities": "softmax"})


@pytest.mark.parametrize("format", modules.EQUAL)
def test_what_is_looked_at_is_what_enters_the_softmax(format: str, tmp_path: Path) -> None:
    source = modules.classifier()
    path, run = saved(format, source, tmp_path)
    opened = inner(path, source.signature, {"probabilities": "softmax"})
    rows = rows_of(source.samples, 0, 5)
    logits = opened.run(rows)["probabilities"]
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(-1).numpy(), run(rows)["probabilities"], atol=1e-6)
    assert not np.allclose(logits, run(rows)["probabilities"])
