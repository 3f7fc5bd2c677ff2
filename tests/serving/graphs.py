"""Small ONNX graphs that are no classifiers: an identity of every datatype, one that raises, one without a batch axis."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artifact, Golden, Manifest, Origin, ParityReport
from models.repository import ModelVersion, Repository, sha256_of
from models.tensors import DTYPES, Array, Signature, Tensors, TensorSpec

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
    return signature, _model(graph)


def lookup() -> tuple[Signature, onnx.ModelProto]:
    """Return a model that looks a number up in a table of 4, and for any other place makes ONNX Runtime raise."""
    table = np.array([10, 11, 12, 13], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "place"], ["found"])],
        "lookup",
        [helper.make_tensor_value_info("place", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(table, "table")],
    )
    signature = Signature((TensorSpec("place", "INT64", ()),), (TensorSpec("found", "FP32", ()),), max_batch_size=8)
    return signature, _model(graph)


def square_root() -> tuple[Signature, onnx.ModelProto]:
    """Return a model without a batch axis: the square root of a scalar, which for a negative one is not a number."""
    graph = helper.make_graph(
        [helper.make_node("Sqrt", ["x"], ["root"])],
        "root",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("root", TensorProto.FLOAT, [])],
    )
    return Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("root", "FP32", ()),), max_batch_size=0), _model(graph)


def counting() -> tuple[Signature, onnx.ModelProto]:
    """Return a model without a batch axis that counts to `trips` one by one: as slow as one likes, for 10¹⁵ for weeks."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Add", ["sum_in", "one"], ["sum_out"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.INT64, []),
        ],
        [numpy_helper.from_array(np.array(1, np.int64), "one")],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "zero"], ["count"], body=body)],
        "counting",
        [helper.make_tensor_value_info("trips", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("count", TensorProto.INT64, [])],
        [numpy_helper.from_array(np.array(0, np.int64), "zero")],
    )
    signature = Signature((TensorSpec("trips", "INT64", ()),), (TensorSpec("count", "INT64", ()),), max_batch_size=0)
    return signature, _model(graph)


def publish(
    root: Path, name: str, parts: tuple[Signature, onnx.ModelProto], inputs: Tensors, outputs: Tensors
) -> ModelVersion:
    """Publish a graph as the next version of `name`, with its golden sample and without content."""
    signature, model = parts
    repository = Repository(root)
    with repository.staging(name) as staged:
        onnx.save(model, staged / "model.onnx")
        golden = staged / "golden.npz"
        arrays = {f"input:{key}": array for key, array in inputs.items()}
        arrays |= {f"output:{key}": array for key, array in outputs.items()}
        np.savez(golden, allow_pickle=False, **arrays)
        path = staged / "model.onnx"
        report = ParityReport("onnx", (1,), 1, ())
        manifest = Manifest(
            model=name,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=signature,
            content=None,
            artifacts=(Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, {}, report),),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=1),
            checkpoint="0" * 64,
            origin=Origin(name, "0" * 64, 0, {}, {}, {}, None, None),
        )
        return repository.publish(staged, manifest)


def publish_lookup(root: Path, name: str = "lookup") -> ModelVersion:
    """Publish the model that raises for a place outside its table."""
    return publish(root, name, lookup(), {"place": np.array([3], np.int64)}, {"found": np.array([13], np.float32)})


def publish_square_root(root: Path, name: str = "root") -> ModelVersion:
    """Publish the model without a batch axis."""
    return publish(root, name, square_root(), {"x": np.array(9, np.float32)}, {"root": np.array(3, np.float32)})


def publish_counting(root: Path, name: str = "counting") -> ModelVersion:
    """Publish the model that takes as long as it is asked to."""
    three = np.array(3, np.int64)
    return publish(root, name, counting(), {"trips": three}, {"count": three})


def publish_identity(root: Path, name: str = "identity", *, width: int | None = 3) -> ModelVersion:
    """Publish the identity of every datatype."""
    ones: dict[str, Array] = {datatype: np.ones((1, width or 3), DTYPES[datatype]) for datatype in ELEMENTS}
    inputs = {f"in_{datatype}": array for datatype, array in ones.items()}
    outputs = {f"out_{datatype}": array for datatype, array in ones.items()}
    return publish(root, name, identity(tuple(ELEMENTS), width), inputs, outputs)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
