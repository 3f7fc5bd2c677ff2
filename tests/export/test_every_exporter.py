"""The contract of every exporter: the file, opened alone, answers what the eager module answers, at any batch size."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from export import eager, parity, reference
from export.exporter import Exporter, ExportError, ExportSource, Options, exporter_of
from models.tensors import TensorSpec, rows_of
from tests.export import modules

SOURCES = [modules.classifier, modules.ranker, modules.tagger, modules.listener, modules.single, modules.stateful]


@pytest.fixture(params=modules.EQUAL)
def exporter(request: pytest.FixtureRequest) -> Exporter:
    return exporter_of(request.param)


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_the_file_says_what_the_module_says(exporter: Exporter, make: Callable[[], ExportSource], tmp_path: Path) -> None:
    source = make()
    path = tmp_path / exporter.filename
    exporter.export(source, path)
    run = exporter.open(path, source.signature)
    sizes = parity.batch_sizes(source.signature)
    comparison = parity.compare(exporter.format, run, reference.measure(source), sizes=sizes)
    assert comparison.faults == ()
    assert comparison.report.passed
    assert comparison.report.batch_sizes == {modules.single: (1,), modules.stateful: (0,)}.get(make, (1, 2, 7, 8))
    assert [output.output for output in comparison.report.outputs] == [spec.name for spec in source.signature.outputs]


def test_a_free_axis_takes_other_lengths_than_the_example(exporter: Exporter, tmp_path: Path) -> None:
    source = modules.tagger()
    path = tmp_path / exporter.filename
    exporter.export(source, path)
    longer = {"tokens": np.arange(5 * 13).reshape(5, 13) % 11}
    found = exporter.open(path, source.signature)(longer)
    expected = eager.in_float32(source, longer, batch_size=5).outputs
    np.testing.assert_allclose(found["tags"], expected["tags"], atol=1e-6)
    np.testing.assert_array_equal(found["padded"], expected["padded"])


def test_an_export_leaves_nothing_but_its_file(
    exporter: Exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = modules.ranker()
    weights = {name: tensor.clone() for name, tensor in source.module.state_dict().items()}
    samples = {name: array.copy() for name, array in source.samples.items()}
    path = tmp_path / exporter.filename
    exporter.export(source, path)
    exporter.open(path, source.signature)(rows_of(source.samples, 0, 2))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [path]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in source.module.state_dict().items())
    assert all(np.array_equal(array, samples[name]) for name, array in source.samples.items())
    # Nor does the file say where on this machine the module's source lies.
    assert str(Path(__file__).parent).encode() not in path.read_bytes()


def unexportable(x: Tensor) -> tuple[Tensor]:
    raise RuntimeError("no kernel for this\nlong story")


def test_a_module_that_cannot_be_expressed_is_one_line(exporter: Exporter, tmp_path: Path) -> None:
    source = modules.of(unexportable, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3))
    path = tmp_path / exporter.filename
    with pytest.raises(ExportError, match=rf"^{exporter.format}: .*no kernel for this$"):
        exporter.export(source, path)
    assert not path.exists()


def decides_in_python(x: Tensor) -> tuple[Tensor]:
    return (x * 2 if x.sum() > 0 else x - 1,)


def test_a_decision_in_python_on_a_tensors_value_cannot_become_onnx(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = modules.of(decides_in_python, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3))
    with pytest.raises(ExportError, match=r"^onnx: .*data-dependent expression[^\n]*$"):
        exporter_of("onnx").export(source, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def decides_in_the_graph(x: Tensor) -> tuple[Tensor]:
    return (torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)),)


def test_a_decision_that_is_part_of_the_graph_is_kept_in_an_exported_program(tmp_path: Path) -> None:
    source = modules.of(decides_in_the_graph, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3))
    exporter_of("exported_program").export(source, tmp_path / "model.pt2")
    run = exporter_of("exported_program").open(tmp_path / "model.pt2", source.signature)
    for sign in (1, -1):
        x = sign * np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(run({"x": x})["y"], x * 2 if sign > 0 else x - 1)


def writes_to_its_input(x: Tensor) -> tuple[Tensor]:
    return (x.add_(1) * 2,)


@pytest.mark.parametrize("format", ["exported_program", "torchscript"])
def test_a_module_that_writes_to_its_input_is_refused_where_the_file_would_do_so_too(format: str, tmp_path: Path) -> None:
    source = modules.of(writes_to_its_input, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3))
    with pytest.raises(ExportError, match=rf"^{format}: the module writes to its input 'x'; have it write to x\.clone\(\)$"):
        exporter_of(format).export(source, tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 nor this"])
def test_a_damaged_file_is_one_line(exporter: Exporter, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / exporter.filename
    path.write_bytes(content)
    with pytest.raises(ExportError, match=rf"^{exporter.format}: cannot open {path.name}: [^\n]+$"):
        exporter.open(path, modules.ranker().signature)


def test_a_file_that_cannot_be_written_is_the_systems_error(exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exporter.export(modules.ranker(), tmp_path / "missing" / exporter.filename)


def fixes_its_batch_axis(x: Tensor) -> tuple[Tensor]:
    return ((torch.zeros(3, 3) + x) * 2,)


@pytest.mark.parametrize("format", ["onnx", "exported_program"])
def test_a_batch_axis_that_the_module_fixes_is_named_with_its_input(format: str, tmp_path: Path) -> None:
    source = modules.of(fixes_its_batch_axis, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(9, 3))
    expected = rf"^{format}: .*input 'x': the module fixes the batch axis to 3, the 3 rows it was traced with; look for .*$"
    with pytest.raises(ExportError, match=expected):
        exporter_of(format).export(source, tmp_path / "model")


def answers_for_all_rows(x: Tensor) -> tuple[Tensor]:
    return (x.sum(0, keepdim=True),)


def test_an_output_without_a_free_batch_axis_is_named_before_it_is_run(tmp_path: Path) -> None:
    source = modules.of(answers_for_all_rows, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(9, 3))
    with pytest.raises(ExportError, match=r"^onnx: output 'y': expected a free batch axis, found the length 1; look for"):
        exporter_of("onnx").export(source, tmp_path / "model.onnx")


@pytest.mark.parametrize("opset", [18, 23])
def test_the_opset_is_the_one_asked_for(opset: int, tmp_path: Path) -> None:
    source = replace(modules.classifier(), options=Options(opset=opset))
    path = tmp_path / "model.onnx"
    exporter_of("onnx").export(source, path)
    assert [imported.version for imported in onnx.load(path).opset_import if not imported.domain] == [opset]
    run = exporter_of("onnx").open(path, source.signature)
    assert parity.compare("onnx", run, reference.measure(source), sizes=[1, 7]).faults == ()


@pytest.mark.parametrize("opset", [17, 24, -1])
def test_an_opset_without_translations_names_those_there_are(opset: int) -> None:
    with pytest.raises(ExportError, match=rf"^opset: expected 18 to 23, found {opset}$"):
        Options(opset=opset)


class Chooser(torch.nn.Module):
    """Decides in Python on a tensor's value, as only a script keeps it."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        if bool(x.sum() > 0):
            return (x * 2,)
        return (x - 1,)


def test_a_script_keeps_a_decision_that_a_trace_forgets(tmp_path: Path) -> None:
    signature = modules.of(answers_for_all_rows, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3)).signature
    source = ExportSource(Chooser().eval(), signature, {"x": np.ones((4, 3), np.float32)}, Options(torchscript="script"))
    scripted, traced = tmp_path / "scripted.pt", tmp_path / "traced.pt"
    exporter_of("torchscript").export(source, scripted)
    exporter_of("torchscript").export(replace(source, options=Options()), traced)
    below = -np.ones((2, 3), np.float32)
    for path, expected in ((scripted, below - 1), (traced, below * 2)):
        found = exporter_of("torchscript").open(path, signature)({"x": below})["y"]
        np.testing.assert_array_equal(found, expected)


class Variadic(torch.nn.Module):
    """Takes what comes, which TorchScript has no type for."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        return (tensors[0] * 2,)


def test_what_cannot_be_scripted_is_one_line_with_the_other_way(tmp_path: Path) -> None:
    signature = modules.of(answers_for_all_rows, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3)).signature
    source = ExportSource(Variadic().eval(), signature, {"x": modules.numbers(4, 3)}, Options(torchscript="script"))
    expected = (
        r"^torchscript: the module cannot be scripted: [^\n]*variable number of arguments[^\n]*; try --torchscript trace$"
    )
    with pytest.raises(ExportError, match=expected):
        exporter_of("torchscript").export(source, tmp_path / "model.pt")


def test_an_unknown_way_to_torchscript_names_those_there_are() -> None:
    with pytest.raises(ExportError, match=r"^torchscript: expected trace or script, found 'freeze'$"):
        Options(torchscript="freeze")
