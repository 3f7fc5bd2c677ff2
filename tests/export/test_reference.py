from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from export import reference
from export.exporter import ExportError, ExportSource, Options
from models.tensors import Array, TensorSpec
from tests.export import modules

Y = TensorSpec("y", "FP32", (3,))
LABEL = TensorSpec("label", "INT64", ())


def only(source: ExportSource) -> reference.OutputReference:
    """Return the measured reference of a model's only output."""
    (output,) = reference.measure(source).outputs.values()
    return output


def test_tolerances_lie_a_little_above_rounding() -> None:
    measured = reference.measure(modules.classifier())
    output = measured.outputs["probabilities"]
    assert measured.rows == 40
    assert output.fault is None
    assert 2 * 2.0**-24 <= output.floor.largest < 1e-5
    assert output.tolerance == pytest.approx(10 * output.floor.largest)
    assert output.allowed.shape == output.values.shape == (40, 5)
    assert output.allowed.max() == pytest.approx(output.tolerance)


def test_a_discrete_output_is_allowed_no_difference() -> None:
    output = reference.measure(modules.classifier()).outputs["class"]
    assert output.discrete
    assert (output.floor.largest, output.tolerance, output.fault) == (0, 0, None)
    assert not output.undecided.any()


def test_a_near_tie_is_undecided_and_its_neighbours_are_not() -> None:
    scores = np.tile(np.array([1.0, 3.0, 2.0], np.float32), (40, 1))
    scores[7, 2] = np.nextafter(np.float32(3), np.float32(2))
    output = only(modules.of(lambda x: (x.argmax(1),), LABEL, samples=scores))
    assert np.flatnonzero(output.undecided).tolist() == [7]
    assert output.fault is None


def test_many_ties_prove_nothing() -> None:
    output = only(modules.of(lambda x: (x.argmax(1),), LABEL, samples=np.ones((20, 3), np.float32)))
    assert output.fault == "ill-conditioned: 100% of the decisions are ties, or differ between two runs of the eager model"


def ill_conditioned(x: Tensor) -> tuple[Tensor]:
    """Cancel all but the last digits."""
    return ((x * 1e-3 + 1e4) - 1e4,)


def random(x: Tensor) -> tuple[Tensor]:
    """Leave dropout on whatever the mode."""
    return (torch.nn.functional.dropout(x, training=True),)


def slightly_random(x: Tensor) -> tuple[Tensor]:
    """Add noise that is too small to call the output ill-conditioned."""
    return (x + 1e-5 * torch.randn_like(x),)


def test_numbers_that_rounding_decides_are_a_fault() -> None:
    output = only(modules.of(ill_conditioned, Y, samples=modules.numbers(40, 3)))
    assert output.fault is not None
    assert output.fault.startswith("ill-conditioned: the eager model differs from itself by 0.0")


def test_where_a_tolerance_is_stated_an_ill_condition_is_told_and_no_fault() -> None:
    source = modules.of(ill_conditioned, Y, samples=modules.numbers(40, 3))
    output = only(replace(source, options=Options(atol=0.5, rtol=0.25)))
    assert output.fault is None
    assert output.conditioned is not None
    assert output.conditioned.startswith("ill-conditioned: ")
    np.testing.assert_allclose(output.allowed, 0.5 + 0.25 * np.abs(output.values))
    assert output.tolerance == output.allowed.max()


@pytest.mark.parametrize("function", [random, slightly_random])
def test_an_output_that_chance_decides_is_marked(function: Callable[[Tensor], tuple[Tensor]]) -> None:
    output = only(modules.of(function, Y, samples=modules.numbers(40, 3)))
    assert output.fault is None
    assert output.random is not None
    assert output.random.startswith("random: two runs of the eager model on the same inputs differ by ")
    assert output.random.endswith("is dropout left on?")
    assert output.tolerance == 0


def test_chance_that_is_seen_in_few_samples_only() -> None:
    def rarely(x: Tensor) -> tuple[Tensor]:
        return (torch.where(x > 2, torch.rand_like(x), x),)

    samples = modules.numbers(40, 3).clip(-1, 1)
    samples[38, 1] = 3
    assert only(modules.of(rarely, Y, samples=samples)).random is not None


def test_an_output_that_chance_decides_and_that_is_no_number_is_a_fault() -> None:
    output = only(modules.of(lambda x: (torch.rand_like(x) / 0,), Y, samples=modules.numbers(40, 3)))
    assert output.fault == "not finite: 120 of 120 values are NaN or infinite"


def test_the_floor_is_the_largest_of_its_parts() -> None:
    for floor in (output.floor for output in reference.measure(modules.listener()).outputs.values()):
        assert floor.largest == max(floor.float64, floor.alone, floor.ulp)
        assert floor.float64 > 0
        assert floor.ulp > 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x - x.mean(0),),
        lambda x: (x.softmax(0),),
        # Too small a dependence to call the output ill-conditioned, and far above rounding.
        lambda x: (x + 1e-4 * x.mean(0),),
    ],
)
def test_rows_that_look_at_their_neighbours_are_found(function: Callable[[Tensor], tuple[Tensor]]) -> None:
    measured = reference.measure(modules.of(function, Y, samples=modules.numbers(40, 3)))
    (output,) = measured.outputs.values()
    assert output.fault is None
    assert output.dependence is not None
    assert output.dependence.startswith("rows are not independent: sample ")
    assert measured.dependence == f"y: {output.dependence}"


def test_decisions_that_depend_on_the_neighbours_are_found() -> None:
    samples = modules.numbers(40, 3)
    hidden = only(modules.of(lambda x: ((x.sum(1) > x.sum()).long(),), LABEL, samples=samples))
    seen = only(modules.of(lambda x: ((x - x.mean(0)).argmax(1),), LABEL, samples=samples))
    assert hidden.dependence is not None
    assert "rows are not independent" in hidden.dependence
    assert seen.dependence is not None
    assert "rows are not independent" in seen.dependence


def test_a_random_decision_is_marked() -> None:
    output = only(modules.of(lambda x: ((x + torch.randn_like(x)).argmax(1),), LABEL, samples=modules.numbers(40, 3)))
    assert (output.fault, output.dependence) == (None, None)
    assert output.random is not None


def test_nans_and_infinities_of_the_inputs_are_no_fault() -> None:
    samples = modules.numbers(40, 3)
    samples[3, 1], samples[4, 2] = np.nan, np.inf
    output = only(modules.of(lambda x: (x * 2,), Y, samples=samples))
    assert output.fault is None
    assert np.isfinite(output.tolerance)
    label = only(modules.of(lambda x: ((x * 2).argmax(1),), LABEL, samples=samples))
    assert label.fault is None


def test_samples_that_are_no_numbers_prove_nothing() -> None:
    nothing = np.full((6, 3), np.nan, np.float32)
    source = modules.of(lambda x: (x * 2,), TensorSpec("y", "FP32", (3,)), samples=nothing)
    with pytest.raises(ExportError, match=r"^samples: expected some without NaN and infinity, found none"):
        reference.measure(source)


def test_a_class_masked_by_minus_infinity_is_no_fault() -> None:
    mask = torch.tensor([0, -np.inf, 0], dtype=torch.float32)
    samples = modules.numbers(40, 3)
    assert only(modules.of(lambda x: (x + mask,), Y, samples=samples)).fault is None
    assert only(modules.of(lambda x: ((x + mask).argmax(1),), LABEL, samples=samples)).fault is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nans_and_infinities_of_the_model_are_a_fault(value: float) -> None:
    samples = modules.numbers(40, 3)
    samples[3] = np.nan
    bias = torch.tensor([0, value, 0], dtype=torch.float32)
    output = only(modules.of(lambda x: (x + bias,), Y, samples=samples))
    assert output.fault == "not finite: 39 of 117 values are NaN or infinite"
    label = only(modules.of(lambda x: ((x + bias).argmax(1),), LABEL, samples=samples))
    assert label.fault == "not finite: 39 of 117 values are NaN or infinite"


def test_one_row_that_is_no_number_is_a_fault() -> None:
    samples = modules.numbers(40, 3)
    samples[5, 0] = 0
    output = only(modules.of(lambda x: (x / x,), Y, samples=samples))
    assert output.fault == "not finite: 1 of 120 values are NaN or infinite"


def test_a_value_that_overflows_in_float32_only_is_a_fault() -> None:
    output = only(modules.of(lambda x: ((x * 1e20) * 1e20,), Y, samples=modules.numbers(40, 3)))
    assert output.fault is not None
    assert output.fault.startswith("not finite: ")


def test_inputs_that_the_module_writes_to_stay_as_they_were() -> None:
    samples = modules.numbers(10, 3)
    before = samples.copy()
    only(modules.of(lambda x: (x.mul_(2),), Y, samples=samples))
    np.testing.assert_array_equal(samples, before)


def not_a_tuple(x: Tensor) -> Tensor:
    return x


def too_many(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x


def failing(x: Tensor) -> tuple[Tensor]:
    raise RuntimeError("mat1 and mat2 do not fit\nmore")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_a_tuple, "the eager model: expected a tuple of 1 tensors, found Tensor"),
        (too_many, r"the eager model: expected a tuple of 1 tensors, found tuple\(Tensor, Tensor\)"),
        (failing, "the eager model fails on 8 rows: RuntimeError: mat1 and mat2 do not fit$"),
        (
            lambda x: (x.double(),),
            "the eager model does not keep its signature: y: expected datatype FP32, found dtype float64",
        ),
        (
            lambda x: (x.sum(0, keepdim=True),),
            "the eager model does not keep its signature: y: expected 8 rows, as in its inputs, found 1; where rows are ",
        ),
        (
            lambda x: (x[:, :2],),
            r"the eager model does not keep its signature: y: expected shape \[-1, 3\], found shape \[8, 2\]",
        ),
    ],
)
def test_a_module_that_is_not_what_its_signature_says(function: Callable[[Tensor], tuple[Tensor]], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        only(modules.of(function, Y, samples=modules.numbers(10, 3)))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({}, "samples: expected every input of the signature, found none"),
        ({"features": np.zeros((2, 4), np.float32), "kind": np.zeros(3, np.int64)}, "as many in every input"),
        ({"features": np.zeros((0, 4), np.float32), "kind": np.zeros(0, np.int64)}, "one or more rows"),
        ({"features": np.zeros((2, 4)), "kind": np.zeros(2, np.int64)}, "samples: features: expected datatype FP32"),
    ],
)
def test_samples_that_do_not_fit(samples: dict[str, Array], message: str) -> None:
    source = modules.ranker()
    with pytest.raises(ExportError, match=message):
        ExportSource(source.module, source.signature, samples)
