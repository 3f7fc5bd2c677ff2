"""Small ONNX graphs to serve, published like any other model: one that raises, one that takes as long as it is asked to."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.content import Content
from models.manifest import Artifact, Golden, Manifest, Origin, ParityReport
from models.repository import ModelVersion, Repository, sha256_of
from models.tensors import Signature, Tensors, TensorSpec


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
    return signature, model_of(graph)


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
    return signature, model_of(graph)


def publish(
    root: Path,
    name: str,
    parts: tuple[Signature, onnx.ModelProto],
    inputs: Tensors,
    outputs: Tensors,
    *,
    content: Content | None = None,
    tolerance: Mapping[str, float] | None = None,
) -> ModelVersion:
    """Publish a graph as the next version of `name`, with its golden sample; outputs may differ by their tolerance."""
    signature, model = parts
    rows = len(next(iter(inputs.values()))) if signature.batched else 1
    repository = Repository(root)
    with repository.staging(name) as staged:
        onnx.save(model, staged / "model.onnx")
        golden = staged / "golden.npz"
        arrays = {f"input:{key}": array for key, array in inputs.items()}
        arrays |= {f"output:{key}": array for key, array in outputs.items()}
        np.savez(golden, allow_pickle=False, **arrays)
        path = staged / "model.onnx"
        report = ParityReport("onnx", (1,), rows, ())
        artifact = Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, tolerance or {}, report)
        manifest = Manifest(
            model=name,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=signature,
            content=content,
            artifacts=(artifact,),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=rows),
            checkpoint="0" * 64,
            origin=Origin(name, "0" * 64, 0, {}, {}, {}, None, None),
        )
        return repository.publish(staged, manifest)


def publish_lookup(root: Path, name: str = "lookup") -> ModelVersion:
    """Publish the model that raises for a place outside its table."""
    return publish(root, name, lookup(), {"place": np.array([3], np.int64)}, {"found": np.array([13], np.float32)})


def publish_counting(root: Path, name: str = "counting") -> ModelVersion:
    """Publish the model that takes as long as it is asked to."""
    three = np.array(3, np.int64)
    return publish(root, name, counting(), {"trips": three}, {"count": three})


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Return a graph as a model, in versions that every ONNX Runtime in use reads."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
