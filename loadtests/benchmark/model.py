"""The model that every side serves: the network of `digits`, as ONNX built by hand, with weights that nobody has trained.

What a request costs does not depend on what the weights are, and so the benchmark needs neither a data set nor torch. The
image is FP32, as most frameworks take it: 784 numbers are 15 KB of JSON or 3 KB of bytes.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import CONFIG, Repository, sha256_of
from models.tensors import Array, Signature, TensorSpec

MODEL = "benchmark"
INPUT, OUTPUT = "image", "probabilities"
SIDE, CLASSES, BATCH_ROWS = 28, 10, 64

#: Of the three convolutions: channels and side of the kernel.
_BLOCKS = ((16, 5), (32, 3), (64, 3))
#: What one runtime differs from itself between a lone row and one of a batch; the outputs lie between 0 and 1.
_TOLERANCE = 1e-5
_GOLDEN_ROWS = 4


def images(rows: int) -> Array:
    """Return images that all differ."""
    return np.random.default_rng(1).random((rows, SIDE, SIDE), dtype=np.float32)


def open_session(path: Path | str) -> Any:  # Any: the runtime is not typed
    """Return the session as every side has it: one thread, and no core burnt while there is nothing to do."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def publish(root: Path) -> Path:
    """Publish the model into a repository, to be served by one instance of one thread; return its ONNX file."""
    repository = Repository(root)
    with repository.staging(MODEL) as staged:
        path, golden = staged / "model.onnx", staged / "golden.npz"
        onnx.save(_graph(), path)
        inputs = images(_GOLDEN_ROWS)
        outputs = open_session(path).run([OUTPUT], {INPUT: inputs})[0]
        np.savez(golden, allow_pickle=False, **{f"input:{INPUT}": inputs, f"output:{OUTPUT}": outputs})
        same = OutputParity(OUTPUT, 0.0, 0.0, 0.0, _TOLERANCE, None, 0, True)
        parity = ParityReport("onnx", (1, _GOLDEN_ROWS), _GOLDEN_ROWS, (same,))
        manifest = Manifest(
            model=MODEL,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=Signature(
                (TensorSpec(INPUT, "FP32", (SIDE, SIDE)),), (TensorSpec(OUTPUT, "FP32", (CLASSES,)),), BATCH_ROWS
            ),
            content=None,
            artifacts=(Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, {OUTPUT: _TOLERANCE}, parity),),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=_GOLDEN_ROWS),
            checkpoint="0" * 64,
            origin=Origin(MODEL, "0" * 64, 0, {}, {}, {}, None, None),
        )
        (root / MODEL / CONFIG).write_text("instances = 1\nthreads = 1\n", encoding="utf-8")
        return repository.publish(staged, manifest).path / "model.onnx"


def _graph() -> onnx.ModelProto:
    """Return three times convolution, pooling and ReLU, then one linear layer and softmax."""
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("one", [1]), ("flat", [0, -1]))
    ]
    nodes = [helper.make_node("Unsqueeze", [INPUT, "one"], ["plane"])]
    before, channels, side = "plane", 1, SIDE
    for number, (filters, kernel) in enumerate(_BLOCKS):
        # Scaled so that values neither vanish nor grow on their way: small numbers would be slow ones.
        weights = random.normal(0, (2 / (channels * kernel**2)) ** 0.5, (filters, channels, kernel, kernel))
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"kernel{number}"))
        pads = [kernel // 2] * 4
        nodes += [
            helper.make_node("Conv", [before, f"kernel{number}"], [f"conv{number}"], kernel_shape=[kernel] * 2, pads=pads),
            helper.make_node("MaxPool", [f"conv{number}"], [f"pool{number}"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Relu", [f"pool{number}"], [f"relu{number}"]),
        ]
        before, channels, side = f"relu{number}", filters, side // 2
    values = channels * side * side
    linear = random.normal(0, values**-0.5, (values, CLASSES)).astype(np.float32)
    constants.append(numpy_helper.from_array(linear, "linear"))
    nodes += [
        helper.make_node("Reshape", [before, "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "linear"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", CLASSES])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
