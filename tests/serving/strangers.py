"""Models as other people leave them: small ONNX graphs without a manifest, in a repository laid out as Triton's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.tensors import Array

Axes = Sequence[int | str | None]

FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Axes]],
    outputs: dict[str, tuple[int, Axes]],
    constants: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    """Return a graph with inputs and outputs of an element type and a shape each."""
    given = [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in inputs.items()]
    made = [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in outputs.items()]
    fixed = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "stranger", given, made, fixed)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def node(
    kind: str, given: Sequence[str], made: Sequence[str], **attributes: Any
) -> onnx.NodeProto:  # Any: an operator's own
    found: onnx.NodeProto = helper.make_node(kind, given, made, **attributes)
    return found


def double(axes: Axes = ("N", 3), kind: int = FLOAT) -> onnx.ModelProto:
    """Return y = x + x: every row for itself."""
    return model([node("Add", ["x", "x"], ["y"])], {"x": (kind, axes)}, {"y": (kind, axes)})


def linear(width: int = 64, seed: int = 0) -> onnx.ModelProto:
    """Return y = relu(x W) V: every row for itself, but for the noise of its sums."""
    generator = np.random.default_rng(seed)
    weights = {name: generator.normal(size=(width, width)).astype(np.float32) for name in ("w", "v")}
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    return model(nodes, {"x": (FLOAT, ("N", width))}, {"y": (FLOAT, ("N", width))}, weights)


def add_total() -> onnx.ModelProto:
    """Return y = x + sum of x over its first axis: one client's data in another's answer, were they batched."""
    nodes = [node("ReduceSum", ["x", "first"], ["total"], keepdims=1), node("Add", ["x", "total"], ["y"])]
    axes = ("N", 3)
    return model(nodes, {"x": (FLOAT, axes)}, {"y": (FLOAT, axes)}, {"first": np.array([0], np.int64)})


def recurrent() -> onnx.ModelProto:
    """Return a step with a state of shape [2, N, 3], whose rows lie on the second axis."""
    nodes = [node("Add", ["state", "x"], ["next"]), node("ReduceSum", ["next", "first"], ["y"], keepdims=0)]
    return model(
        nodes,
        {"x": (FLOAT, ("N", 3)), "state": (FLOAT, (2, "N", 3))},
        {"y": (FLOAT, ("N", 3)), "next": (FLOAT, (2, "N", 3))},
        {"first": np.array([0], np.int64)},
    )


def texts() -> onnx.ModelProto:
    """Return a model that gives its texts back."""
    axes = ("N", 2)
    return model([node("Identity", ["x"], ["y"])], {"x": (STRING, axes)}, {"y": (STRING, axes)})


def put(
    root: Path,
    name: str,
    graph: onnx.ModelProto | bytes,
    *,
    config: str | None = None,
    version: int = 1,
    file: str = "model.onnx",
) -> Path:
    """Write a version as a stranger would, with a config.pbtxt where one is given, and return the model file's path."""
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    path = folder / file
    path.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    if config is not None:
        (root / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return path
