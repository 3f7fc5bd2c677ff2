"""The contract of every exporter: the file, opened alone, answers what the eager module answers, at any batch size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export import eager, parity, reference
from export.exporter import FORMATS, Exporter, ExportError, ExportSource, exporter_of
from models.tensors import TensorSpec, rows_of
from tests.export import modules

SOURCES = [modules.classifier, modules.ranker, modules.tagger, modules.listener, modules.single]


@pytest.fixture(params=FORMATS)
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
    assert comparison.report.batch_sizes == ((1,) if make is modules.single else (1, 2, 7, 8))
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


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 nor this"])
def test_a_damaged_file_is_one_line(exporter: Exporter, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / exporter.filename
    path.write_bytes(content)
    with pytest.raises(ExportError, match=rf"^{exporter.format}: cannot open {path.name}: [^\n]+$"):
        exporter.open(path, modules.ranker().signature)


def test_a_file_that_cannot_be_written_is_the_systems_error(exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exporter.export(modules.ranker(), tmp_path / "missing" / exporter.filename)
