"""The models that every side serves, as ONNX built by hand, with weights that nobody has trained.

The small one is the network of `digits`, about 30 to 100 µs an image; the larger one is made the same way with wider
convolutions, about 10 ms. What a request costs does not depend on what the weights are, and so the benchmark needs neither a
data set nor torch. The image is FP32, as most frameworks take it: 784 numbers are 15 KB of JSON or 3 KB of bytes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests.benchmark.session import BATCH_ROWS, CLASSES, INPUT, MODEL, OUTPUT, SIDE, images, open_session, run
from loadtests.benchmark.work import LARGE, SMALL
from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import CONFIG, Repository, sha256_of
from models.tensors import Signature, TensorSpec

#: Of each convolution: channels, side of the kernel, and how many values on a side are pooled into one.
_BLOCKS = {
    SMALL: ((16, 5, 2), (32, 3, 2), (64, 3, 2)),
    LARGE: ((64, 5, 1), (256, 3, 1), (512, 3, 2), (64, 3, 2)),
}
#: What one runtime differs from itself between a lone row and one of a batch; the outputs lie between 0 and 1.
_TOLERANCE = 1e-5
_GOLDEN_ROWS = 4


@dataclass(frozen=True, slots=True)
class Published:
    """A model on disk: its ONNX file, and two repositories that hold it, to be served by one and by two instances."""

    file: Path
    repository: Path
    shared: Path


def publish(root: Path, model: str) -> Published:
    """Publish one of the models into repositories of its own below a folder."""
    one, two = (root / f"{model}-{instances}" for instances in (1, 2))
    for instances, repository in ((1, one), (2, two)):
        repository.mkdir()
        file = _publish(repository, model, instances=instances)
    return Published(file, one, two)


def _publish(root: Path, model: str, *, instances: int) -> Path:
    """Publish a model into a repository, to be served by so many instances of one thread; return its ONNX file."""
    repository = Repository(root)
    with repository.staging(MODEL) as staged:
        path, golden = staged / "model.onnx", staged / "golden.npz"
        onnx.save(_graph(_BLOCKS[model]), path)
        inputs = images(_GOLDEN_ROWS)
        outputs = run(open_session(path), inputs)
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
        (root / MODEL / CONFIG).write_text(f"instances = {instances}\nthreads = 1\n", encoding="utf-8")
        return repository.publish(staged, manifest).path / "model.onnx"


def _graph(blocks: tuple[tuple[int, int, int], ...]) -> onnx.ModelProto:
    """Return several times convolution, pooling and ReLU, then one linear layer and softmax."""
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("one", [1]), ("flat", [0, -1]))
    ]
    nodes = [helper.make_node("Unsqueeze", [INPUT, "one"], ["plane"])]
    before, channels, side = "plane", 1, SIDE
    for number, (filters, kernel, pooled) in enumerate(blocks):
        # Scaled so that values neither vanish nor grow on their way: small numbers would be slow ones.
        weights = random.normal(0, (2 / (channels * kernel**2)) ** 0.5, (filters, channels, kernel, kernel))
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"kernel{number}"))
        pads = [kernel // 2] * 4
        nodes += [
            helper.make_node("Conv", [before, f"kernel{number}"], [f"conv{number}"], kernel_shape=[kernel] * 2, pads=pads),
            helper.make_node(
                "MaxPool", [f"conv{number}"], [f"pool{number}"], kernel_shape=[pooled] * 2, strides=[pooled] * 2
            ),
            helper.make_node("Relu", [f"pool{number}"], [f"relu{number}"]),
        ]
        before, channels, side = f"relu{number}", filters, side // pooled
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
