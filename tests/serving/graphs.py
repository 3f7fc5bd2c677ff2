"""Small ONNX graphs that are no classifiers: an identity of every datatype, a square root, those of the proofs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.repository import ModelVersion
from models.tensors import DTYPES, Array, Signature, TensorSpec
from proofs.graphs import counting, lookup, model_of, publish, publish_counting, publish_lookup

__all__ = [
    "ELEMENTS", "counting", "identity", "lookup", "publish", "publish_counting", "publish_identity", "publish_lookup",
    "publish_square_root", "square_root",
]  # fmt: skip

#: Datatypes that JSON can carry and ONNX Runtime can pass through, with ONNX's name for them.
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}


def identity(datatypes: Sequence[str], width: int | None) -> tuple[Signature, onnx.ModelProto]:
    """Return a model that gives back its inputs `in_<datatype>` as `out_<datatype>`; `width` None is a free axis."""
    axis = "W" if width is None else width
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in datatypes],
        "identity",
        [helper.make_tensor_value_info(f"in_{name}", ELEMENTS[name], ["N", axis]) for name in datatypes],
        [helper.make_tensor_value_info(f"out_{name}", ELEMENTS[name], ["N", axis]) for name in datatypes],
    )
    signature = Signature(
        inputs=tuple(TensorSpec(f"in_{name}", name, (width,)) for name in datatypes),
        outputs=tuple(TensorSpec(f"out_{name}", name, (width,)) for name in datatypes),
        max_batch_size=8,
    )
    return signature, model_of(graph)


def square_root() -> tuple[Signature, onnx.ModelProto]:
    """Return a model without a batch axis: the square root of a scalar, which for a negative one is not a number."""
    graph = helper.make_graph(
        [helper.make_node("Sqrt", ["x"], ["root"])],
        "root",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("root", TensorProto.FLOAT, [])],
    )
    return Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("root", "FP32", ()),), max_batch_size=0), model_of(graph)


def publish_square_root(root: Path, name: str = "root") -> ModelVersion:
    """Publish the model without a batch axis."""
    return publish(root, name, square_root(), {"x": np.array(9, np.float32)}, {"root": np.array(3, np.float32)})


def publish_identity(root: Path, name: str = "identity", *, width: int | None = 3) -> ModelVersion:
    """Publish the identity of every datatype."""
    ones: dict[str, Array] = {datatype: np.ones((1, width or 3), DTYPES[datatype]) for datatype in ELEMENTS}
    inputs = {f"in_{datatype}": array for datatype, array in ones.items()}
    outputs = {f"out_{datatype}": array for datatype, array in ones.items()}
    return publish(root, name, identity(tuple(ELEMENTS), width), inputs, outputs)
