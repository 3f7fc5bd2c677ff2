"""A model that takes about 10 ms for a row: convolutions over 28 × 28, in ONNX built by hand.

    python -m tests.loadtests.slow_model DIR

For the figures in docs/load-testing.md. A batch takes almost as long per row as a row alone: there is
nothing to be won by batching, and the capacity of one instance is what its one core can compute.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import CONFIG, ModelVersion, Repository, sha256_of
from models.tensors import Signature, TensorSpec

MODEL = "slow"
SIDE, CHANNELS, OUT = 28, 64, 8
#: Of 58 MFLOP each; together they take about 10 ms on one core of 2024.
LAYERS = 32
ROWS, BATCH_ROWS = 16, 8
TOLERANCE = 1e-4


def publish(root: Path, *, layers: int = LAYERS, config: str = "instances = 1\nthreads = 1\n") -> ModelVersion:
    """Publish the model as the next version."""
    repository = Repository(root)
    with repository.staging(MODEL) as staged:
        path, golden = staged / "model.onnx", staged / "golden.npz"
        onnx.save(_graph(layers), path)
        x = np.random.default_rng(1).random((ROWS, SIDE, SIDE), dtype=np.float32)
        y = np.concatenate([_session(path).run(["y"], {"x": row[None]})[0] for row in x])
        np.savez(golden, allow_pickle=False, **{"input:x": x, "output:y": y})
        parity = ParityReport("onnx", (1, ROWS), ROWS, (OutputParity("y", 0.0, 0.0, 0.0, TOLERANCE, None, 0, True),))
        manifest = Manifest(
            model=MODEL,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=Signature((TensorSpec("x", "FP32", (SIDE, SIDE)),), (TensorSpec("y", "FP32", (OUT,)),), BATCH_ROWS),
            content=None,
            artifacts=(Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, {"y": TOLERANCE}, parity),),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=ROWS),
            checkpoint="0" * 64,
            origin=Origin(MODEL, "0" * 64, 0, {}, {}, {}, None, None),
        )
        (root / MODEL / CONFIG).write_text(config, encoding="utf-8")
        return repository.publish(staged, manifest)


def milliseconds(version: ModelVersion, rows: int = 1) -> float:
    """Return how long a batch takes on one thread here, in the middle of some."""
    session, x = _session(version.path / "model.onnx"), np.zeros((rows, SIDE, SIDE), np.float32)
    taken = []
    for _ in range(21):
        started = time.perf_counter()
        session.run(None, {"x": x})
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)) * 1000


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _graph(layers: int) -> onnx.ModelProto:
    """Return convolutions with tanh between them, the mean over the plane, and one linear layer."""
    random = np.random.default_rng(0)
    constants = [numpy_helper.from_array(np.array([1], np.int64), "one")]
    nodes = [helper.make_node("Unsqueeze", ["x", "one"], ["plane"])]
    before, channels = "plane", 1
    for number in range(layers):
        weights = random.normal(0, 1.5 / (channels * 9) ** 0.5, (CHANNELS, channels, 3, 3)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"kernel{number}"))
        nodes += [
            helper.make_node("Conv", [before, f"kernel{number}"], [f"conv{number}"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Tanh", [f"conv{number}"], [f"tanh{number}"]),
        ]
        before, channels = f"tanh{number}", CHANNELS
    linear = random.normal(0, 1, (CHANNELS, OUT)).astype(np.float32)
    constants += [numpy_helper.from_array(linear, "linear"), numpy_helper.from_array(np.array([0, -1], np.int64), "flat")]
    nodes += [
        helper.make_node("GlobalAveragePool", [before], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "linear"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", OUT])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


if __name__ == "__main__":
    published = publish(Path(sys.argv[1]))
    sys.stdout.write(
        f"{published.path}: {milliseconds(published):.1f} ms a row, {milliseconds(published, 8):.1f} ms for 8\n"
    )
