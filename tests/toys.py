"""A tiny classifier for tests, built in memory and published like any other: 4 × 4 grey images in, one of three labels out.

Its logits are a fixed random linear map of the pixels, so each image has an answer of its own and `reference` can say it
without any runtime.
"""

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.content import Content, ImageContent, LabelContent
from models.manifest import Artifact, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import ModelVersion, Repository, sha256_of
from models.tensors import Array, Signature, Tensors, TensorSpec

SIZE = 4
LABELS = ("ant", "bee", "cat")
FILES = {"onnx": "model.onnx", "exported_program": "model.pt2", "torchscript": "model.pt"}
TOLERANCE = {"probabilities": 1e-5, "class": 0.0}


def signature(max_batch_size: int = 8) -> Signature:
    """Return the toy's signature."""
    return Signature(
        inputs=(TensorSpec("image", "UINT8", (SIZE, SIZE)),),
        outputs=(TensorSpec("probabilities", "FP32", (len(LABELS),)), TensorSpec("class", "INT64", ())),
        max_batch_size=max_batch_size,
    )


def content() -> Content:
    """Return what people send to the toy and read from it."""
    return Content(
        input=ImageContent("image", SIZE, SIZE, "L"),
        output=LabelContent(LABELS, decision="class", scores="probabilities"),
    )


def weights(seed: int = 0) -> Array:
    """Return the linear map from 16 pixels, scaled to 0…1, to 3 logits."""
    return np.random.default_rng(seed).normal(0, 3, (SIZE * SIZE, len(LABELS))).astype(np.float32)


def images(count: int, seed: int = 1) -> Array:
    """Return images that all differ."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)


def reference(pixels: Array, seed: int = 0) -> dict[str, Array]:
    """Return the toy's answer, computed with numpy alone."""
    logits = (pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)) @ weights(seed)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {
        "probabilities": (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32),
        "class": logits.argmax(axis=1).astype(np.int64),
    }


def onnx_model(seed: int = 0) -> onnx.ModelProto:
    """Return the toy as an ONNX graph with a free batch axis."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["row"]),
        helper.make_node("Div", ["row", "white"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(weights(seed), "weights"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
        numpy_helper.from_array(np.array([-1, SIZE * SIZE], np.int64), "flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(LABELS)]),
            helper.make_tensor_value_info("class", TensorProto.INT64, ["N"]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_torch(path: Path, format: str, seed: int = 0) -> None:
    """Write the toy as TorchScript or as an exported program."""
    import torch

    class Toy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", torch.from_numpy(weights(seed)))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = (image.flatten(1).float() / 255) @ self.get_buffer("weights")
            return logits.softmax(1), logits.argmax(1)

    if format == "exported_program":
        from export.exported_program import ExportedProgramExporter
        from export.exporter import ExportSource

        ExportedProgramExporter().export(ExportSource(Toy().eval(), signature(), {"image": images(3)}), path)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        torch.jit.trace(Toy().eval(), torch.from_numpy(images(2))).save(path)  # type: ignore[no-untyped-call]


def publish(
    root: Path,
    name: str = "toy",
    *,
    seed: int = 0,
    formats: Sequence[str] = ("onnx",),
    max_batch_size: int = 8,
    golden: Tensors | None = None,
) -> ModelVersion:
    """Publish the toy as the next version of `name`; `golden` replaces the outputs its golden sample should have."""
    repository = Repository(root)
    with repository.staging(name) as staged:
        artifacts = []
        for format in formats:
            path = staged / FILES[format]
            if format == "onnx":
                onnx.save(onnx_model(seed), path)
            else:
                write_torch(path, format, seed)
            artifacts.append(_artifact(format, path))
        pixels = images(8, seed=99)
        outputs = golden or reference(pixels, seed)
        sample = staged / "golden.npz"
        arrays = {"input:image": pixels, **{f"output:{key}": array for key, array in outputs.items()}}
        np.savez(sample, allow_pickle=False, **arrays)
        manifest = Manifest(
            model=name,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=signature(max_batch_size),
            content=content(),
            artifacts=tuple(artifacts),
            golden=Golden("golden.npz", sha256_of(sample), sample.stat().st_size, rows=8),
            checkpoint="0" * 64,
            origin=Origin(name, "0" * 64, seed, {}, {}, {}, None, None),
        )
        return repository.publish(staged, manifest)


def _artifact(format: str, path: Path) -> Artifact:
    parity = [OutputParity(name, 0.0, 0.0, 0.0, allowed, None, 0, True) for name, allowed in TOLERANCE.items()]
    report = ParityReport(format, (1, 2), 8, tuple(parity))
    return Artifact(format, path.name, sha256_of(path), path.stat().st_size, TOLERANCE, report)
