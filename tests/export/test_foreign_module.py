"""A signature from trying a module, and one line each for modules and inputs that cannot have one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.exporter import ExportError, ExportSource
from export.foreign_module import MAX_BATCH_SIZE, evaluating, source_of
from models.tensors import Array, TensorSpec
from tests.export.modules import numbers


class Reader(nn.Module):
    """Knows nothing of Sameway: keyword inputs, a nested answer, an integer output, a free axis, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 3)

    def forward(self, tokens: Tensor, *, mask: Tensor, scale: float = 1.0) -> dict[str, object]:
        hidden = self.dropout(self.embedding(tokens)) * mask[..., None]
        pooled = hidden.sum(1) / mask.sum(1, keepdim=True)
        return {
            "logits": self.linear(pooled) * scale,
            "hidden": (hidden, pooled),
            "loss": None,
            "length": tokens.ne(0).sum(1),
        }


def texts(rows: int = 12, length: int = 9) -> dict[str, Array]:
    tokens = np.random.default_rng(0).integers(1, 20, (rows, length))
    return {"tokens": tokens, "mask": np.ones((rows, length), np.float32)}


class Function(nn.Module):
    """A function of `x` as a module."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def source(function: Callable[[Tensor], object], x: Array | None = None, **chosen: Any) -> ExportSource:
    return source_of(Function(function).eval(), {"x": numbers(9, 3) if x is None else x}, **chosen)


def test_names_datatypes_and_axes_are_found_by_trying() -> None:
    found = source_of(Reader().eval(), texts(), dynamic={"tokens": [1], "mask": [1]}).signature
    assert found.inputs == (TensorSpec("tokens", "INT64", (None,)), TensorSpec("mask", "FP32", (None,)))
    assert found.outputs == (
        TensorSpec("logits", "FP32", (3,)),
        TensorSpec("hidden_0", "FP32", (None, 8)),
        TensorSpec("hidden_1", "FP32", (8,)),
        TensorSpec("length", "INT64", ()),
    )
    assert found.max_batch_size == MAX_BATCH_SIZE


def test_an_axis_that_is_not_declared_free_stays_fixed() -> None:
    found = source_of(Reader().eval(), texts(), max_batch_size=4).signature
    assert [spec.shape for spec in found.inputs] == [(9,), (9,)]
    assert found.max_batch_size == 4


def test_tensors_are_inputs_too() -> None:
    module = Function(lambda x: x * 2).eval()
    assert source_of(module, {"x": torch.ones(4, 2, requires_grad=True)}).signature.inputs[0] == TensorSpec(
        "x", "FP32", (2,)
    )


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (None, ["a", "b"]),
        (["b"], ["b"]),
        (["b", "a"], ["b", "a"]),
        (["first", "second"], ["first", "second"]),
    ],
)
def test_outputs_are_selected_or_renamed(outputs: Sequence[str] | None, names: list[str]) -> None:
    made = source(lambda x: {"a": x[:, :1], "b": x * 2}, outputs=outputs)
    assert [spec.name for spec in made.signature.outputs] == names
    answer = made.module(torch.ones(2, 3))
    assert [list(tensor.shape) for tensor in answer] == [[2, 1 if name in ("a", "first") else 3] for name in names]


def test_the_module_sees_its_own_weights_in_a_copy() -> None:
    """A copy in float64, as the reference makes, must not run the original."""
    made = source_of(Reader().eval(), texts())
    from export.float64 import doubled

    with torch.no_grad():
        made.module.module.linear.bias.add_(100)  # type: ignore[union-attr, operator]
    assert doubled(made.module)(*made.example())[0].dtype == torch.float64


def some_rows(x: Tensor) -> Tensor:
    return torch.nonzero(x[:, 0] > 0)


def fixed(x: Tensor) -> Tensor:
    return x.view(9, -1) * 2


def fails(x: Tensor) -> Tensor:
    raise ValueError("no such layer")


BATCH = (
    r"look for a number where x\.shape\[0\] or -1 is meant, or for a sum over all rows; of a model without a batch axis, say"
)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            fails,
            r"the module fails on 9 rows of the inputs given: ValueError: no such layer \(\S*test_foreign_module\.py:\d+\)",
        ),
        (fixed, rf"the module runs on 9 rows and not on 1: RuntimeError: shape '\[9, -1\]' .* \(\S+:\d+\); {BATCH} .*"),
        (lambda x: x.sum(), rf"output 'output': expected 1 rows, as in the inputs, found the shape \[\]; {BATCH} .*"),
        (lambda x: x.sum(0, keepdim=True), rf"output 'output': expected 2 rows, .* found the shape \[1, 3\]; {BATCH} .*"),
        (
            lambda x: x @ x.T,
            r"output 'output': expected the same shape for each row, found \[9, 9\] on 9 rows and \[1, 1\] on 1; .*",
        ),
        (
            some_rows,
            r"output 'output': expected one shape for inputs of one shape, found \[[01], 1\] and \[[01], 1\] for two rows.*",
        ),
        (lambda x: {"x": x * 2}, r"output 'x': an input has this name too; select or rename outputs"),
        (lambda x: (x, 3), r"output 'output_1': expected a tensor, found int; .*"),
        (
            lambda x: x.bfloat16(),
            r"output 'output': expected a datatype that numpy has, found torch\.bfloat16; end with \.float\(\)",
        ),
        (lambda x: x + 1j, r"output 'output': expected a datatype of BOOL, .*, found complex64"),
    ],
)
def test_modules_that_can_have_no_signature(function: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ExportError, match=f"^{message}$"):
        source(function)


@pytest.mark.parametrize(
    ("x", "chosen", "message"),
    [
        (np.array(["a"]), {}, r"input 'x': expected a datatype of BOOL, .*, found <U1"),
        (numbers(9, 3).astype(">f4"), {}, r"input 'x': expected a datatype of BOOL, .*, found >f4"),
        (np.zeros((0, 3), np.float32), {}, r"input 'x': expected one or more values, found the shape \[0, 3\]"),
        (None, {"dynamic": {"y": [1]}}, r"dynamic: expected an input of x, found 'y'"),
        (None, {"dynamic": {"x": [2]}}, r"dynamic: input 'x': expected axes from 1 to 1, found 2"),
        (None, {"dynamic": {"x": [0]}}, r"dynamic: .* found 0; axis 0 is the batch axis, which is free already"),
        (None, {"dynamic": {"x": ["1"]}}, r"dynamic: input 'x': expected numbers of axes, found '1'"),
        (None, {"max_batch_size": -1}, r"max_batch_size: expected 0 or more, found -1"),
        ([[1.0, 2.0]], {}, r"input 'x': expected an array or a tensor, found list"),
        (None, {"outputs": ["a", "b"]}, r"outputs: expected some of output, or 1 new names for them, found a, b"),
        (None, {"outputs": []}, r"outputs: expected some of output, .*, found none"),
        (None, {"outputs": ["9"]}, r"outputs: expected some of output, .*, found 9"),
        (
            np.float32(3) * np.ones((), np.float32),
            {"max_batch_size": 4},
            r"inputs: expected as many rows in each .*, found x \[\]",
        ),
    ],
)
def test_inputs_and_choices_that_do_not_fit(x: Array | None, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=f"^{message}$"):
        source(lambda x: x * 2, x, **chosen)


@pytest.mark.parametrize("name", ["a-b", "class", "self", "ä", ""])
def test_a_name_that_no_parameter_can_have_is_refused(name: str) -> None:
    with pytest.raises(ExportError, match=r"^input '.*': expected a name of letters, digits and underscores"):
        source_of(Function(lambda x: x).eval(), {name: numbers(4, 3)})


def test_no_inputs_are_refused() -> None:
    with pytest.raises(ExportError, match=r"^inputs: expected one or more arrays, found none$"):
        source_of(Reader().eval(), {})


def test_weights_elsewhere_are_refused() -> None:
    with pytest.raises(
        ExportError, match=r"^embedding\.weight: expected a tensor on the CPU, found it on meta; load its weights$"
    ):
        source_of(Reader().to("meta").eval(), texts())


def test_eval_mode_is_lent() -> None:
    module = Reader().train()
    module.linear.eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [name for name, part in module.named_modules() if part.training] == ["", "embedding", "dropout"]


def leave(x: Tensor) -> Tensor:
    raise SystemExit(0)


def test_a_module_that_exits_does_not_end_the_build_as_if_all_were_well() -> None:
    with pytest.raises(ExportError, match=r"^the module fails on 9 rows of the inputs given: SystemExit: 0"):
        source(leave)


class Stubborn(nn.Dropout):
    """Drops out for ever, as Monte Carlo dropout is often written."""

    def train(self, mode: bool = True) -> "Stubborn":
        return super().train(True)


def test_a_part_that_stays_in_training_mode_is_named() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Stubborn()))
    with (
        pytest.raises(ExportError, match=r"^1\.0: expected eval mode after module\.eval\(\), found training mode"),
        evaluating(module),
    ):
        pass


class Absent(nn.Module):
    """Answers a count only where it is asked about more than one row."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x, **({"z": x} if len(x) > 1 else {})}


def test_an_output_that_is_not_always_there_is_named() -> None:
    with pytest.raises(
        ExportError, match=r"^the module runs on 9 rows and not on 1: output 'z': the module answers it for some"
    ):
        source_of(Absent().eval(), {"x": numbers(9, 3)})
