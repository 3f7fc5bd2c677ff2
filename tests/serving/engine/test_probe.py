"""What the probe lets share an execution, and what it does not."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from models.tensors import DTYPES, Array, Signature, Tensors, TensorSpec
from serving.backends.base import ArtifactBytes
from serving.backends.onnx import OnnxBackend
from serving.engine.probe import PROBED_ROWS, dependence
from tests.serving import graphs, strangers
from tests.serving.sessions import FakeSession
from tests.serving.strangers import FLOAT, INT64, model, node


def found(graph: onnx.ModelProto) -> str | None:
    """Return what the probe finds in a graph, opened as it is served, if its shapes leave anything to find."""
    artifact = ArtifactBytes("model.onnx", graph.SerializeToString())
    backend = OnnxBackend()
    declared = backend.declared(artifact)
    if (problem := declared.no_batch_axis(PROBED_ROWS)) is not None:
        return problem
    signature = declared.signature(PROBED_ROWS)
    session = backend.open(artifact, signature, device="cpu", threads=1)
    try:
        return dependence(session, signature)
    finally:
        session.close()


def over_rows(kind: str, **attributes: Any) -> onnx.ModelProto:
    """Return y = x + something made of all rows."""
    nodes = [node(kind, ["x", "first"], ["all"], keepdims=1, **attributes), node("Add", ["x", "all"], ["y"])]
    return model(nodes, {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))}, {"first": np.array([0], np.int64)})


def along_rows(kind: str, given: tuple[str, ...] = ("x",), **attributes: Any) -> onnx.ModelProto:
    """Return y = an operator along the first axis of x."""
    constants: dict[str, Array] = {"zero": np.array(0, np.int64)} if "zero" in given else {}
    return model([node(kind, given, ["y"], **attributes)], {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))}, constants)


def turned_round() -> onnx.ModelProto:
    constants = {name: np.array([value], np.int64) for name, value in (("from", -1), ("to", -100), ("axis", 0), ("by", -1))}
    nodes = [node("Slice", ["x", "from", "to", "axis", "by"], ["y"])]
    return model(nodes, {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))}, constants)


def convolution() -> onnx.ModelProto:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], strides=[2, 2]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["y"]),
    ]
    return model(nodes, {"x": (FLOAT, ("N", 3, "H", "W"))}, {"y": (FLOAT, ("N", 4, 1, 1))}, {"w": weights})


def quantised() -> onnx.ModelProto:
    """Return a product whose scale is taken from the whole batch, as dynamic quantisation does."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return model(nodes, {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))})


def mean_of_half_precision() -> onnx.ModelProto:
    """Return a graph in FP16 that adds a thousandth of the mean of all rows."""
    nodes = [
        node("ReduceMean", ["x", "first"], ["mean"], keepdims=1),
        node("Mul", ["mean", "little"], ["part"]),
        node("Add", ["x", "part"], ["y"]),
    ]
    constants: dict[str, Array] = {"first": np.array([0], np.int64), "little": np.array(1e-3, np.float16)}
    kind = TensorProto.FLOAT16
    return model(nodes, {"x": (kind, ("N", 3))}, {"y": (kind, ("N", 3))}, constants)


INDEPENDENT = {
    "elementwise": strangers.double(),
    "without other axes": strangers.double(("N",)),
    "two products": strangers.linear(),
    "wide products": strangers.linear(512),
    "texts": strangers.texts(),
    "free axes": strangers.double(("N", "W", None)),
    "half precision": strangers.double(kind=TensorProto.FLOAT16),
    "double precision": strangers.double(kind=TensorProto.DOUBLE),
    "whole numbers": strangers.double(kind=INT64),
    "brain floats": model(
        [node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.BFLOAT16, ("N", 3))},
        {"y": (TensorProto.BFLOAT16, ("N", 3))},
    ),
    "booleans": model([node("Not", ["x"], ["y"])], {"x": (TensorProto.BOOL, ("N", 3))}, {"y": (TensorProto.BOOL, ("N", 3))}),
    "softmax of a row": along_rows("Softmax", axis=1),
    "images of free size": convolution(),
    "a table": graphs.lookup()[1],
    "every datatype": graphs.identity(tuple(graphs.ELEMENTS), None)[1],
}

DEPENDENT = {
    "sum over rows": (over_rows("ReduceSum"), "'y'"),
    "mean over rows": (over_rows("ReduceMean"), "'y'"),
    "largest of all rows": (over_rows("ReduceMax"), "'y'"),
    "softmax over rows": (along_rows("Softmax", axis=0), "shows nothing"),
    "running sum": (along_rows("CumSum", ("x", "zero")), "'y'"),
    "other order": (turned_round(), "'y'"),
    "one scale for all": (quantised(), "'y'"),
    "little of the mean, in few bits": (mean_of_half_precision(), "'y'"),
    "random": (model([node("RandomNormalLike", ["x"], ["y"])], {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))}), "'y'"),
    "one row for all": (
        model(
            [node("ReduceSum", ["x", "first"], ["y"], keepdims=1)],
            {"x": (FLOAT, ("N", 3))},
            {"y": (FLOAT, (None, 3))},
            {"first": np.array([0], np.int64)},
        ),
        "'y' has the shape [1, 3]",
    ),
    "always the same": (
        model([node("Sub", ["x", "x"], ["y"])], {"x": (INT64, ("N",))}, {"y": (INT64, ("N",))}),
        "shows nothing",
    ),
    "as many as differ": (
        model([node("Unique", ["x"], ["y"])], {"x": (INT64, ("N",))}, {"y": (INT64, ("M",))}),
        "rows, found",
    ),
    "one row only": (
        model(
            [node("Squeeze", ["x", "axis"], ["r"]), node("Unsqueeze", ["r", "axis"], ["y"])],
            {"x": (FLOAT, ("N", 3))},
            {"y": (FLOAT, ("M", 3))},
            {"axis": np.array([0])},
        ),
        "[1, 3]",
    ),
    "none of random values": (
        model(
            [node("Gather", ["t", "x"], ["y"])], {"x": (INT64, ("N",))}, {"y": (INT64, ("N",))}, {"t": np.zeros(1, np.int64)}
        ),
        "cannot be run",
    ),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_rows_that_are_independent_may_be_batched(name: str) -> None:
    assert found(INDEPENDENT[name]) is None


@pytest.mark.parametrize("name", DEPENDENT)
def test_rows_that_see_each_other_may_not_and_the_reason_is_said(name: str) -> None:
    graph, why = DEPENDENT[name]
    reason = found(graph)
    assert reason is not None
    assert why in reason
    assert "\n" not in reason


def lying(session_run: object, datatype: str = "FP32") -> str | None:
    """Return what the probe finds in a session that does as it is told here."""
    signature = Signature((TensorSpec("x", datatype, (3,)),), (TensorSpec("y", datatype, (3,)),), PROBED_ROWS)
    return dependence(FakeSession(session_run, dtype=DTYPES[datatype]), signature)  # type: ignore[arg-type]


def test_a_row_that_takes_over_its_neighbour_s_values_is_found_however_small_they_are() -> None:
    def leak(inputs: Tensors) -> Tensors:
        x = inputs["x"].astype(np.float64)
        # Far below the noise that is allowed between batches of different sizes, and no noise all the same.
        return {"y": (x + 1e-6 * np.roll(x, 1, axis=0)).astype(np.float32)}

    assert lying(lambda inputs: {"y": inputs["x"] * 2}) is None
    assert "beside it" in (lying(leak) or "") or "alone" in (lying(leak) or "")


def test_a_neighbour_that_is_no_number_must_not_be_seen() -> None:
    def mask(inputs: Tensors) -> Tensors:
        x = inputs["x"]
        return {"y": x + 0 * x.sum(axis=0, keepdims=True)}  # a mask of zeros hides numbers, not nan

    with np.errstate(invalid="ignore"):
        assert lying(mask) == "output 'y' of a row changes with the rows beside it"


def test_noise_within_the_datatype_s_precision_is_no_dependence() -> None:
    def noisy(inputs: Tensors) -> Tensors:
        x = inputs["x"]
        return {"y": x * np.float32(1 + len(x) * 2**-23)}  # other batch sizes, other sums

    assert lying(noisy) is None
    assert lying(lambda inputs: {"y": inputs["x"] * np.float32(1 + len(inputs["x"]) * 1e-4)}) is not None


def test_a_session_that_raises_for_a_full_batch_only_is_dependent() -> None:
    def small(inputs: Tensors) -> Tensors:
        if len(inputs["x"]) > 8:
            raise RuntimeError("too large\nfor me")
        return {"y": inputs["x"]}

    assert lying(small) == "rows run alone and not together: too large"
