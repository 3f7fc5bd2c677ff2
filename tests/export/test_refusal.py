import torch
from torch import Tensor, nn

from export.exporter import ExportSource
from export.refusal import fixed_axis, module_path, refusal
from models.tensors import TensorSpec
from tests.export import modules


class Faulty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no kernel for this\nlong story")


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Identity(), Faulty())

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.features(x),)


def raised(module: nn.Module) -> Exception:
    try:
        module(torch.zeros(2, 3))
    except Exception as error:  # noqa: BLE001 - it is what the tests are about
        return error
    raise AssertionError("nothing was raised")


def source() -> ExportSource:
    return modules.of(lambda x: (x,), TensorSpec("y", "FP32", (3,)), samples=modules.numbers(9, 3))


def test_the_part_of_the_module_that_failed_is_named() -> None:
    module = Wrapped()
    assert module_path(raised(module), module) == "features.1"
    assert module_path(ValueError("nowhere"), module) is None


def test_the_innermost_cause_is_told_in_one_line() -> None:
    error = RuntimeError("a screen of advice")
    error.__cause__ = ValueError("what counts\nmore")
    assert refusal(error, source()) == "ValueError: what counts"


def test_known_refusals_say_what_to_do() -> None:
    error = RuntimeError("Could not guard on data-dependent expression Eq(u0, 1)")
    assert refusal(error, source()).startswith("a decision in Python on a tensor's value; use torch.where or torch.cond")


def test_an_axis_that_was_to_be_free_is_named() -> None:
    said = "but tracing inferred a static shape of 7 for dimension inputs['x'].shape[{}]."
    assert "fixes the batch axis to 7, the 3 rows it was traced with" in str(fixed_axis(said.format(0), source()))
    assert "'x': the module fixes axis 1, which the signature declares free, to 7" in str(
        fixed_axis(said.format(1), source())
    )
    assert fixed_axis("something else", source()) is None
