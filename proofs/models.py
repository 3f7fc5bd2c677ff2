"""The model that proofs load: it echoes its rows, and each row says how much work that is to be.

A row holds two numbers: units of work, and a name that its answer must bear. A unit is one multiplication of two matrices,
so a batch takes what its rows ask for together, a proof can have a request of any length, and how long a unit takes is
measured on this machine before anything is proved.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import orjson
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import CONFIG, ModelVersion, Repository, sha256_of
from models.tensors import Signature, TensorSpec
from proofs.load import Request, post

MODEL = "work"

#: One unit is 2 × 128³ floating-point operations, some 20 to 100 µs: fine enough to aim at a millisecond.
_SIDE = 128

#: Names stay exact in float32.
_NAMES = 2**20


def publish(root: Path, *, batch_rows: int, queue_rows: int) -> ModelVersion:
    """Publish the model as the next version, to be served by one instance of one thread."""
    repository = Repository(root)
    with repository.staging(MODEL) as staged:
        path, golden = staged / "model.onnx", staged / "golden.npz"
        onnx.save(_graph(), path)
        rows = np.array([[1, 5], [2, 6]], np.float32)
        np.savez(golden, allow_pickle=False, **{"input:x": rows, "output:y": rows})
        parity = ParityReport("onnx", (1, 2), 2, (OutputParity("y", 0.0, 0.0, 0.0, 0.0, None, 0, True),))
        manifest = Manifest(
            model=MODEL,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),), batch_rows),
            content=None,
            artifacts=(Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, {"y": 0.0}, parity),),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=2),
            checkpoint="0" * 64,
            origin=Origin(MODEL, "0" * 64, 0, {}, {}, {}, None, None),
        )
        (root / MODEL / CONFIG).write_text(f"queue_rows = {queue_rows}\n")
        return repository.publish(staged, manifest)


def unit_seconds(version: ModelVersion) -> float:
    """Return how long a unit of work takes on this machine, by the best of several runs of a few ms."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(version.path / "model.onnx", options, providers=["CPUExecutionProvider"])
    units, best = 64, float("inf")
    for _ in range(20):
        started = time.perf_counter()
        session.run(None, {"x": np.array([[units, 0]], np.float32)})
        best = min(best, time.perf_counter() - started)
    return best / units


def request(
    host: str, *, units: int, name: int, timeout_seconds: float | None = None, hangs_up_seconds: float | None = None,
    kind: str = "",
) -> Request:  # fmt: skip
    """Return a request of one row for so much work."""
    body: dict[str, object] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [units, name]}]}
    if timeout_seconds is not None:
        body["parameters"] = {"timeout": round(timeout_seconds * 1e6)}

    def right(answer: bytes) -> bool:
        return bool(orjson.loads(answer)["outputs"][0]["data"] == [units, name])

    message = post(host, f"/v2/models/{MODEL}/infer", orjson.dumps(body))
    return Request(message, right, hangs_up_seconds, kind)


def requests(host: str, *, units: int, timeout_seconds: float | None = None) -> Iterator[Request]:
    """Yield requests of one row without end, each with a name of its own."""
    for number in count():
        yield request(host, units=units, name=1 + number % _NAMES, timeout_seconds=timeout_seconds)


def _graph() -> onnx.ModelProto:
    """Return y = x, after as many multiplications as the first lane of all rows asks for."""
    # An orthogonal matrix: its powers neither grow nor vanish, so that no unit is cheaper than another.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(_SIDE, _SIDE)))[0].astype(np.float32)
    square = [_SIDE, _SIDE]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("MatMul", ["before", "turn"], ["after"])],
        "unit",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, square),
        ],
    )
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["units"], axis=1),
        helper.make_node("ReduceSum", ["units"], ["all_units"], keepdims=0),
        helper.make_node("Cast", ["all_units"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "", "turn"], ["end"], body=body),
        # The result is needed, so that nothing is left out, and so small that it changes no answer.
        helper.make_node("ReduceMean", ["end"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "tiny"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(turn, "turn"),
        numpy_helper.from_array(np.array(0, np.int64), "first"),
        numpy_helper.from_array(np.array(1e-30, np.float32), "tiny"),
    ]
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
