"""The models this suite asks: an identity of every datatype, and one model for each shape of request worth a test.

The suite publishes them for the servers that it starts. Any other server can be asked too once it serves them:

    python -m tests.conformance.zoo DIR && sameway serve --repository DIR
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from models.manifest import Artifact, Golden, Manifest, Origin, ParityReport
from models.repository import CONFIG, Repository, sha256_of
from models.tensors import DTYPES, Array, Signature, TensorSpec
from tests import toys

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}

#: How long the model `patient` waits for company: what a test may do meanwhile, it does in a tenth of it.
PATIENCE_SECONDS = 0.3
#: As many tensors, and as many axes, as a request may have.
MANY = 64
DEEP = 16


def publish(root: Path) -> None:
    """Publish every model of the suite."""
    toys.publish(root)
    for datatype in DTYPES:
        name, one = f"identity_{datatype.lower()}", TensorSpec("x", datatype, (None,))
        _publish(root, name, [("x", "y")], Signature((one,), (TensorSpec("y", datatype, (None,)),), 8))
    # The one that is asked most at once.
    (root / "identity_fp32" / CONFIG).write_text("queue_rows = 4096\n")
    flat = TensorSpec("x", "FP32", (None,)), TensorSpec("y", "FP32", (None,))
    _publish(root, "patient", [("x", "y")], Signature(flat[:1], flat[1:], 8))
    (root / "patient" / CONFIG).write_text(f"queue_delay_seconds = {PATIENCE_SECONDS}\n")
    _publish(root, "levels", [("x", "y")], Signature(flat[:1], flat[1:], 8))
    (root / "levels" / CONFIG).write_text("priority_levels = 2\n")
    grid = TensorSpec("x", "FP32", (None, None)), TensorSpec("y", "FP32", (None, None))
    _publish(root, "grid", [("x", "y")], Signature(grid[:1], grid[1:], 0))
    deep = (1,) * (DEEP - 1)
    _publish(root, "deep", [("x", "y")], Signature((TensorSpec("x", "FP32", deep),), (TensorSpec("y", "FP32", deep),), 8))
    names = [(f"x{number}", f"y{number}") for number in range(MANY)]
    ins, outs = (tuple(TensorSpec(pair[side], "INT32", ()) for pair in names) for side in (0, 1))
    _publish(root, "many", names, Signature(ins, outs, 8))
    _publish_pair(root)
    _publish_state(root)
    (root / "absent").mkdir()
    (root / "absent" / CONFIG).write_text("instances = 1\n")


def _publish_pair(root: Path) -> None:
    """Publish a model of two inputs and two outputs of different datatypes: sum = a + b as FP32, less = b − a as INT64."""
    signature = Signature(
        inputs=(TensorSpec("a", "FP32", (3,)), TensorSpec("b", "INT64", (3,))),
        outputs=(TensorSpec("sum", "FP32", (3,)), TensorSpec("less", "INT64", (3,))),
        max_batch_size=8,
    )
    nodes = [
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["a"], ["a_whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["a", "b_float"], ["sum"]),
        helper.make_node("Sub", ["b", "a_whole"], ["less"]),
    ]
    sample: dict[str, Array] = {"a": np.ones((1, 3), np.float32), "b": np.full((1, 3), 5, np.int64)}
    answer: dict[str, Array] = {"sum": np.full((1, 3), 6, np.float32), "less": np.full((1, 3), 4, np.int64)}
    _write(root, "pair", nodes, signature, sample, answer)


def _publish_state(root: Path) -> None:
    """Publish a model without a batch axis: a recurrent state [2, N, 4] and a scalar in, both transformed out."""
    state, scalar = (2, None, 4), ()
    signature = Signature(
        inputs=(TensorSpec("state", "FP32", state), TensorSpec("gain", "FP32", scalar)),
        outputs=(TensorSpec("next", "FP32", state), TensorSpec("square", "FP32", scalar)),
        max_batch_size=0,
    )
    nodes = [helper.make_node("Mul", ["state", "gain"], ["next"]), helper.make_node("Mul", ["gain", "gain"], ["square"])]
    sample = {"state": np.ones((2, 1, 4), np.float32), "gain": np.array(3, np.float32)}
    answer = {"next": np.full((2, 1, 4), 3, np.float32), "square": np.array(9, np.float32)}
    _write(root, "state", nodes, signature, sample, answer)


def _publish(root: Path, name: str, pairs: Sequence[tuple[str, str]], signature: Signature) -> None:
    """Publish a model that gives back each input of the pairs as the output beside it."""
    nodes = [helper.make_node("Identity", [before], [after]) for before, after in pairs]
    sample = {spec.name: _ones(spec, signature) for spec in signature.inputs}
    _write(root, name, nodes, signature, sample, {after: sample[before] for before, after in pairs})


def _ones(spec: TensorSpec, signature: Signature) -> Array:
    """Return one row of ones; for texts, of words."""
    shape = tuple(length or 1 for length in signature.full_shape(spec))
    return np.full(shape, "one") if spec.datatype == "BYTES" else np.ones(shape, spec.dtype)


def _write(
    root: Path,
    name: str,
    nodes: Sequence[NodeProto],
    signature: Signature,
    sample: Mapping[str, Array],
    answer: Mapping[str, Array],
) -> None:
    """Publish a graph of these nodes with its golden sample."""
    ins, outs = ([_described(spec, signature) for spec in specs] for specs in (signature.inputs, signature.outputs))
    graph = helper.make_graph(list(nodes), name, ins, outs)
    repository = Repository(root)
    with repository.staging(name) as staged:
        model, golden = staged / "model.onnx", staged / "golden.npz"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), model)
        arrays = {f"input:{key}": array for key, array in sample.items()}
        arrays |= {f"output:{key}": array for key, array in answer.items()}
        np.savez(golden, allow_pickle=False, **arrays)
        manifest = Manifest(
            model=name,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=signature,
            content=None,
            artifacts=(
                Artifact("onnx", model.name, sha256_of(model), model.stat().st_size, {}, ParityReport("onnx", (1,), 1, ())),
            ),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=1),
            checkpoint="0" * 64,
            origin=Origin(name, "0" * 64, 0, {}, {}, {}, None, None),
        )
        repository.publish(staged, manifest)


def _described(spec: TensorSpec, signature: Signature) -> onnx.ValueInfoProto:
    shape = [f"axis{axis}" if length is None else length for axis, length in enumerate(signature.full_shape(spec))]
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.datatype], shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="an empty folder for the models")
    publish(parser.parse_args().directory)
