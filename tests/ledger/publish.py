"""The tracer as a published version: ONNX and TorchScript files that turn as tracer.py says, and a golden sample."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import CONFIG, ModelVersion, Repository, sha256_of
from models.tensors import Signature, TensorSpec
from tests.ledger import tracer

#: A dozen strangers fill a batch, and 64 connections fill five: there is always a next one that could overwrite the last.
BATCH_ROWS = 32
_GOLDEN_ROWS = 4

#: Two instances, so that answers come from two threads at once; a queue that 64 connections cannot fill; and a delay, so
#: that requests meet in batches on a machine of any speed, and clients who hang up are met while they wait.
CONFIG_DEFAULTS: Mapping[str, float] = {"instances": 2, "queue_rows": 1024, "queue_delay_seconds": 0.02}


def publish(
    root: Path,
    *,
    formats: Sequence[str] = ("onnx",),
    batch_rows: int = BATCH_ROWS,
    **config: float,
) -> ModelVersion:
    """Publish the next version of the tracer, to be served from the first of the formats and as `config` says."""
    repository = Repository(root)
    with repository.staging(tracer.MODEL) as staged:
        version = max(repository.versions(tracer.MODEL), default=0) + 1
        files = {"onnx": staged / "model.onnx", "torchscript": staged / "model.pt"}
        if "onnx" in formats:
            onnx.save(_graph(version), files["onnx"])
        if "torchscript" in formats:
            _write_torchscript(files["torchscript"], version)
        inputs = np.array([tracer.lanes(0, row, row) for row in range(_GOLDEN_ROWS)], np.float32)
        golden = staged / "golden.npz"
        arrays = {f"input:{tracer.INPUT}": inputs}
        arrays[f"output:{tracer.OUTPUT}"] = tracer.oracle(inputs, version).astype(np.float32)
        np.savez(golden, allow_pickle=False, **arrays)
        manifest = Manifest(
            model=tracer.MODEL,
            version=version,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=_signature(batch_rows),
            content=None,
            artifacts=tuple(_artifact(format, files[format]) for format in formats),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=_GOLDEN_ROWS),
            checkpoint="0" * 64,
            origin=Origin(tracer.MODEL, "0" * 64, 0, {}, {}, {}, None, None),
        )
        lines = [f"{key} = {value}\n" for key, value in {**CONFIG_DEFAULTS, **config}.items()]
        (root / tracer.MODEL / CONFIG).write_text("".join([*lines, f'format = "{formats[0]}"\n']))
        return repository.publish(staged, manifest)


def _signature(batch_rows: int) -> Signature:
    return Signature(
        inputs=(TensorSpec(tracer.INPUT, "FP32", (tracer.LANES,)),),
        outputs=(TensorSpec(tracer.OUTPUT, "FP32", (tracer.LANES,)),),
        max_batch_size=batch_rows,
    )


def _graph(version: int) -> onnx.ModelProto:
    turn, shift = tracer.weights(version)
    graph = helper.make_graph(
        [helper.make_node("Gemm", [tracer.INPUT, "A", "b"], [tracer.OUTPUT], transB=1)],
        tracer.MODEL,
        [helper.make_tensor_value_info(tracer.INPUT, TensorProto.FLOAT, ["N", tracer.LANES])],
        [helper.make_tensor_value_info(tracer.OUTPUT, TensorProto.FLOAT, ["N", tracer.LANES])],
        [numpy_helper.from_array(turn, "A"), numpy_helper.from_array(shift, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _write_torchscript(path: Path, version: int) -> None:
    import torch

    class Tracer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in zip(("turn", "shift"), tracer.weights(version), strict=True):
                self.register_buffer(name, torch.from_numpy(array))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.nn.functional.linear(x, self.get_buffer("turn"), self.get_buffer("shift")),)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # upstream is leaving TorchScript, and says so at every call
        torch.jit.trace(Tracer().eval(), torch.zeros(2, tracer.LANES)).save(path)  # type: ignore[no-untyped-call]


def _artifact(format: str, path: Path) -> Artifact:
    tolerance = {tracer.OUTPUT: tracer.TOLERANCE}
    parity = OutputParity(tracer.OUTPUT, 0.0, 0.0, 0.0, tracer.TOLERANCE, None, 0, True)
    report = ParityReport(format, (1, 2), _GOLDEN_ROWS, (parity,))
    return Artifact(format, path.name, sha256_of(path), path.stat().st_size, tolerance, report)
