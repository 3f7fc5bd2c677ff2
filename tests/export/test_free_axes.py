from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.exporter import ExportError, ExportSource, Run, exporter_of
from export.free_axes import proofs
from models.tensors import Signature, TensorSpec
from tests.export import modules


class Loop(nn.Module):
    """Sums along a free axis by a loop in Python: a trace writes down as many additions as the example had columns."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        total = torch.zeros_like(x[:, 0])
        for column in range(x.shape[1]):
            total = total + x[:, column]
        return (total,)


class Positional(nn.Module):
    """Multiplies a free axis with a table of one length."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(6.0))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x @ self.get_buffer("table"),)


class Masked(nn.Module):
    """Takes two inputs whose free axes must be of one length."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor]:
        return ((x * mask).sum(1),)


def source(module: nn.Module, *names: str) -> ExportSource:
    signature = Signature(
        tuple(TensorSpec(name, "FP32", (None,)) for name in names), (TensorSpec("y", "FP32", ()),), modules.MOST
    )
    return ExportSource(module.eval(), signature, {name: modules.numbers(20, 6, seed) for seed, name in enumerate(names)})


def run_of(format: str, made: ExportSource, folder: Path) -> Run:
    exporter = exporter_of(format)
    exporter.export(made, folder / exporter.filename)
    return exporter.open(folder / exporter.filename, made.signature)


def test_a_file_that_has_the_length_of_the_example_inside_is_found_out(tmp_path: Path) -> None:
    made = source(Loop(), "x")
    run = run_of("torchscript", made, tmp_path)
    found = [proof.fault("torchscript", run) for proof in proofs(made)]
    assert [proof.length for proof in proofs(made)] == [1, 3, 13]
    assert all(found)
    assert str(found[2]).startswith("input 'x' axis 1 at length 13: y: ")


@pytest.mark.parametrize("format", ["onnx", "exported_program", "torchscript"])
def test_a_file_whose_axis_is_free_passes_at_every_length(format: str, tmp_path: Path) -> None:
    made = modules.tagger()
    run = run_of(format, made, tmp_path)
    assert [proof.length for proof in proofs(made)] == [1, 4, 19]
    assert [proof.fault(format, run) for proof in proofs(made)] == [None, None, None]


def test_axes_of_one_length_are_changed_together(tmp_path: Path) -> None:
    made = source(Masked(), "x", "mask")
    assert {proof.axes for proof in proofs(made)} == {"input 'x' axis 1 and input 'mask' axis 1"}
    run = run_of("exported_program", made, tmp_path)
    assert not any(proof.fault("exported_program", run) for proof in proofs(made))


def test_an_axis_that_the_model_itself_has_not_free_is_an_error() -> None:
    expected = r"^input 'x' axis 1: declared free, but the eager model takes 6 only, none of 1, 3, 13: "
    with pytest.raises(ExportError, match=expected):
        proofs(source(Positional(), "x"))


def test_a_model_without_free_axes_has_nothing_to_prove() -> None:
    assert proofs(modules.classifier()) == []
