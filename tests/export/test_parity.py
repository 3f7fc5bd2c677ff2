"""Parity on artifacts that are plain functions: honest ones pass, each planted fault is told for what it is."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from export import eager, parity, reference
from export.exporter import ExportSource, Run
from export.parity import Comparison
from models.tensors import Array, Signature, Tensors, TensorSpec
from tests.export import modules

Change = Callable[[dict[str, Array]], dict[str, Array]]


def honest(source: ExportSource) -> Run:
    """Return an artifact that answers as exactly as its output types allow: rounded otherwise than the eager module."""

    def run(inputs: Tensors) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        exact = eager.in_float64(source, inputs, batch_size=rows).outputs
        return {spec.name: exact[spec.name].astype(spec.dtype) for spec in source.signature.outputs}

    return run


def changed(source: ExportSource, change: Change) -> Run:
    """Return an honest artifact whose answers are changed on the way out."""
    run = honest(source)
    return lambda inputs: change(run(inputs))


def compare(source: ExportSource, run: Run) -> Comparison:
    return parity.compare("fake", run, reference.measure(source), sizes=parity.batch_sizes(source.signature))


def faults(source: ExportSource, change: Change) -> tuple[str, ...]:
    comparison = compare(source, changed(source, change))
    assert comparison.report.passed == (not comparison.faults)
    return comparison.faults


@pytest.mark.parametrize(("most", "sizes"), [(1, (1,)), (2, (1, 2)), (5, (1, 2, 5)), (7, (1, 2, 7)), (64, (1, 2, 7, 64))])
def test_batch_sizes(most: int, sizes: tuple[int, ...]) -> None:
    x = (TensorSpec("x", "FP32", (1,)),)
    assert parity.batch_sizes(Signature(x, x, most)) == sizes


@pytest.mark.parametrize("make", [modules.classifier, modules.ranker, modules.tagger, modules.single])
def test_an_honest_artifact_passes(make: Callable[[], ExportSource]) -> None:
    source = make()
    comparison = compare(source, honest(source))
    assert comparison.faults == ()
    for output in comparison.report.outputs:
        assert output.passed
        assert output.max_absolute <= output.tolerance
        assert output.equal_decisions == (None if output.tolerance else 1.0)
        if output.max_ulp is not None and output.min_cosine is not None:
            assert output.max_ulp > 0
            assert 1 - 1e-9 < output.min_cosine <= 1
            assert output.noise_floor == max(output.floor_float64 or 0, output.floor_alone or 0, output.floor_ulp or 0)


@pytest.mark.parametrize("seed", range(10))
def test_no_false_alarm_whatever_the_weights(seed: int) -> None:
    source = modules.classifier(rows=200)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in source.module.parameters():
            weights.normal_(0, 0.7, generator=random)
    assert compare(source, honest(source)).faults == ()


def test_one_weight_of_the_first_convolution_changed_by_one_percent() -> None:
    source = modules.classifier(rows=64)
    measured = reference.measure(source)
    total = dict(source.module.named_parameters())["convolution.weight"].numel()
    caught = 0
    for index in range(total):
        module = copy.deepcopy(source.module)
        with torch.no_grad():
            dict(module.named_parameters())["convolution.weight"].view(-1)[index] *= 1.01
        artifact = honest(ExportSource(module, source.signature, source.samples))
        caught += not parity.compare("fake", artifact, measured, sizes=(8,)).report.passed
    assert caught == total == 54


def test_a_confident_classifier_does_not_hide_a_fault_behind_its_softmax() -> None:
    logits = modules.numbers(200, 5)
    logits[:, 0] += 25
    source = modules.of(lambda x: (x.softmax(1),), TensorSpec("probabilities", "FP32", (5,)), samples=logits)

    def shifted(found: dict[str, Array]) -> dict[str, Array]:
        found["probabilities"][:, 1:] *= np.float32(1.001)
        return found

    (output,) = compare(source, changed(source, shifted)).report.outputs
    assert output.max_absolute < output.tolerance / 1000
    assert not output.passed


def test_outputs_that_are_swapped() -> None:
    left, right = faults(modules.ranker(), lambda found: {"left": found["right"], "right": found["left"]})
    assert left.startswith("left: 360 of 360 values are off; worst: sample ")
    assert right.startswith("right: 360 of 360 values are off; worst: sample ")


def test_an_output_that_is_transposed() -> None:
    square = modules.of(
        lambda x: (x.reshape(-1, 3, 3) * 2,), TensorSpec("square", "FP32", (3, 3)), samples=modules.numbers(20, 9)
    )
    (fault,) = faults(square, lambda found: {"square": found["square"].swapaxes(1, 2)})
    assert "values are off" in fault
    (fault,) = faults(modules.ranker(), lambda found: {**found, "left": found["left"].T.copy()})
    assert fault == "left: expected shape [1, 3] on a batch of 1, found [3, 1]"


def test_an_output_that_is_missing_or_of_another_type() -> None:
    (fault,) = faults(modules.ranker(), lambda found: {"left": found["left"]})
    assert fault == "right: expected an output of this name, found left"
    (fault,) = faults(modules.ranker(), lambda found: {**found, "right": found["right"].astype(np.float64)})
    assert fault == "right: expected float32, found float64"


def test_numbers_that_went_through_float16() -> None:
    (fault,) = faults(modules.classifier(), lambda found: {
        **found, "probabilities": found["probabilities"].astype(np.float16).astype(np.float32)
    })  # fmt: skip
    assert fault.startswith("probabilities: ")


def test_a_batch_axis_that_is_baked_in() -> None:
    source = modules.classifier()
    run = honest(source)

    def fixed(inputs: Tensors) -> dict[str, Array]:
        if len(inputs["image"]) != 8:
            raise ValueError("Got invalid dimensions for input: image\n index: 0")
        return run(inputs)

    comparison = compare(source, fixed)
    assert comparison.faults == (
        "probabilities: cannot run on batches of 1: ValueError: Got invalid dimensions for input: image",
        "class: cannot run on batches of 1: ValueError: Got invalid dimensions for input: image",
    )
    assert not comparison.report.passed


def test_a_batch_axis_of_which_only_the_first_row_is_computed() -> None:
    first, *_ = faults(modules.classifier(), lambda found: {name: array[:1] for name, array in found.items()})
    assert first == "probabilities: expected shape [2, 5] on a batch of 2, found [1, 5]"


def test_rows_that_look_at_their_neighbours_in_the_artifact_only() -> None:
    def mixed(found: dict[str, Array]) -> dict[str, Array]:
        share = np.float32(0.9999) * found["left"] + np.float32(0.0001) * found["left"].mean(0, keepdims=True)
        return {**found, "left": share}

    (fault,) = faults(modules.ranker(), mixed)
    assert "in batches of" in fault
    assert "in batches of 1:" not in fault


def test_a_nan_in_the_artifact_only_or_in_the_model_only() -> None:
    def with_nan(found: dict[str, Array]) -> dict[str, Array]:
        found["left"][-1, 1] = np.nan
        return found

    (fault,) = faults(modules.ranker(), with_nan)
    assert fault.endswith("found nan")
    samples = modules.numbers(20, 3)
    samples[4, 1] = np.nan
    source = modules.of(lambda x: (x * 2,), TensorSpec("y", "FP32", (3,)), samples=samples)
    assert faults(source, lambda found: found) == ()
    (fault,) = faults(source, lambda found: {"y": np.nan_to_num(found["y"])})
    assert "worst: sample 4 in batches of 1: expected nan" in fault


def test_decisions_that_differ() -> None:
    (fault,) = faults(modules.classifier(), lambda found: {**found, "class": (found["class"] + 1) % 5})
    assert fault.startswith("class: 160 of 160 values are off; worst: sample 0 in batches of 1: expected ")
    assert "(equal), found " in fault
    (fault,) = faults(modules.tagger(), lambda found: {**found, "padded": ~found["padded"]})
    assert fault.startswith("padded: ")


def test_one_wrong_decision_is_enough() -> None:
    source = modules.classifier()
    alone = source.samples["image"][17]

    def run(inputs: Tensors) -> dict[str, Array]:
        found = honest(source)(inputs)
        found["class"][(inputs["image"] == alone).all(axis=(1, 2))] ^= 1
        return found

    comparison = compare(source, run)
    assert comparison.faults[0].startswith("class: 4 of 160 values are off; worst: sample 17 in batches of 1: ")
    assert comparison.report.outputs[1].equal_decisions == pytest.approx(39 / 40)


def test_a_tie_may_be_decided_either_way() -> None:
    scores = np.tile(np.array([1.0, 3.0, 2.0], np.float32), (40, 1))
    scores[7, 2] = 3
    source = modules.of(lambda x: (x.argmax(1),), TensorSpec("label", "INT64", ()), samples=scores)

    def last_of_the_best(inputs: Tensors) -> dict[str, Array]:
        return {"label": 2 - inputs["x"][:, ::-1].argmax(1)}

    assert compare(source, last_of_the_best).faults == ()


def test_what_is_wrong_with_the_model_is_told_for_every_format() -> None:
    source = modules.of(lambda x: (x.softmax(0),), TensorSpec("y", "FP32", (3,)), samples=modules.numbers(40, 3))
    comparison = compare(source, honest(source))
    assert not comparison.report.passed
    assert comparison.faults[0].startswith("y: rows are not independent")
