import numpy as np
import pytest

from export.exporter import FORMATS, ExportError, ExportSource, Options, exporter_of, first_line
from models.tensors import Signature, TensorSpec
from tests.export import modules


@pytest.mark.parametrize("format", FORMATS)
def test_the_table_finds_each_exporter(format: str) -> None:
    assert exporter_of(format).format == format


def test_artifacts_have_different_names() -> None:
    assert len({exporter_of(format).filename for format in FORMATS}) == len(FORMATS)


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(
        ExportError, match="format: expected one of onnx, exported_program, torchscript, onnx_int8, onnx_fp16"
    ):
        exporter_of("onxx")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.exporter.FORMATS", {"other": "export.no_such_exporter:Exporter"})
    with pytest.raises(ExportError, match=r"other: needs the package 'export.no_such_exporter'; .*sameway\[export\]"):
        exporter_of("other")


def test_the_example_has_several_rows_and_is_a_copy() -> None:
    source = modules.classifier()
    (image,) = source.example()
    assert image.shape == (3, 8, 8)
    image.zero_()
    assert source.samples["image"].any()


def test_the_example_repeats_samples_where_there_are_few() -> None:
    (image,) = modules.classifier(rows=1).example()
    assert image.shape == (3, 8, 8)


def test_a_model_for_one_row_is_traced_with_one() -> None:
    (image,) = modules.single().example()
    assert image.shape == (1, 8, 8)


def test_requests_of_a_model_without_a_batch_axis_are_stacked() -> None:
    source = modules.stateful()
    assert source.rows == 12
    assert [tensor.shape for tensor in source.example()] == [(5, 3), (1, 6), ()]
    expected = r"^samples: sound: expected shape \[-1, 3\], found shape \[12\]$"
    with pytest.raises(ExportError, match=expected):
        ExportSource(source.module, source.signature, {**source.samples, "sound": np.zeros((12, 12), np.float32)})
    with pytest.raises(ExportError, match=r"one or more rows, as many in every input, found sound: 12, .*gain: no axis$"):
        ExportSource(source.module, source.signature, {**source.samples, "gain": np.float32(1) * np.ones(())})


@pytest.mark.parametrize(("name", "value"), [("atol", -1.0), ("rtol", float("nan")), ("atol", float("inf"))])
def test_a_tolerance_is_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(ExportError, match=rf"^{name}: expected a finite number, 0 or more, found {value}$"):
        Options(**{name: value})  # type: ignore[arg-type]  # mypy cannot tell which of the options it is


def test_a_datatype_that_numpy_lacks_is_refused() -> None:
    source = modules.ranker()
    signature = Signature(source.signature.inputs, (TensorSpec("left", "BF16", (3,)),), max_batch_size=8)
    with pytest.raises(ExportError, match="left: expected a datatype that numpy has, found BF16"):
        ExportSource(source.module, signature, source.samples)


def test_a_module_in_training_mode_is_refused() -> None:
    source = modules.classifier()
    with pytest.raises(ExportError, match="expected eval mode"):
        ExportSource(source.module.train(), source.signature, source.samples)


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n  what\nwhy")) == "ValueError: what"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"
