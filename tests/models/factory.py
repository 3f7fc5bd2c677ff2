"""A published version in a few lines, for the tests of the repository and of the manifest: every fact in it is made up."""

import io
from pathlib import Path

import numpy as np

from models.content import Content, ImageContent, LabelContent
from models.manifest import Artifact, EdgeParity, Golden, Manifest, Origin, OutputParity, ParityReport
from models.repository import ModelVersion, Repository, sha256_of
from models.tensors import Signature, TensorSpec

WEIGHTS = b"not a graph, but every byte of it counts"


def fill(folder: Path, *, model: str = "toy") -> Manifest:
    """Write an artifact and a golden sample into a folder, and return the manifest that describes them."""
    artifact, golden = folder / "model.onnx", folder / "golden.npz"
    artifact.write_bytes(WEIGHTS)
    golden.write_bytes(golden_sample())
    signature = Signature(
        inputs=(TensorSpec("image", "UINT8", (4, 4)),),
        outputs=(TensorSpec("scores", "FP32", (2,)), TensorSpec("class", "INT64", ())),
        max_batch_size=8,
    )
    content = Content(ImageContent("image", 4, 4, "L"), LabelContent(("ä", "b"), "class", "scores"))
    parity = ParityReport(
        format="onnx",
        batch_sizes=(1, 2, 7, 8),
        samples=64,
        outputs=(
            OutputParity(
                "scores",
                max_absolute=1e-7,
                max_relative=1e-5,
                noise_floor=2e-7,
                tolerance=2e-6,
                equal_decisions=None,
                worst_sample=3,
                passed=True,
                max_ulp=1.5,
                min_cosine=0.9999999,
                floor_float64=2e-7,
                floor_alone=1e-7,
                floor_ulp=5e-8,
                atol=1e-6,
                rtol=0.0,
            ),
            OutputParity("class", 0.0, 0.0, 0.0, 0.0, 1.0, 0, passed=True),
        ),
        notes=("what else was found",),
        before_last=(OutputParity("scores before softmax", 1e-6, 1e-5, 2e-6, 2e-5, None, 1, passed=True),),
        edges=(EdgeParity("image", "largest", values=3, judged=2, passed=True, remark=""),),
    )
    return Manifest(
        model=model,
        version=0,
        published="2026-01-31T12:00:00Z",
        signature=signature,
        content=content,
        artifacts=(
            Artifact(
                format="onnx",
                file=artifact.name,
                sha256=sha256_of(artifact),
                size_bytes=artifact.stat().st_size,
                tolerance={"scores": 2e-6, "class": 0.0},
                parity=parity,
            ),
        ),
        golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=2),
        checkpoint="c" * 64,
        origin=Origin(
            model=model,
            data="d" * 64,
            seed=0,
            recipe={"epochs": 2, "learning_rate": 0.01},
            scores={"accuracy": 0.99},
            libraries={"torch": "2.13.0"},
            commit="0" * 40,
            dirty=False,
        ),
    )


def golden_sample() -> bytes:
    """Return an .npz file as export writes it."""
    file = io.BytesIO()
    arrays = {
        "input:image": np.zeros((2, 4, 4), np.uint8),
        "output:scores": np.full((2, 2), 0.5, np.float32),
        "output:class": np.zeros(2, np.int64),
    }
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types the names of its own options only
    return file.getvalue()


def publish(root: Path, model: str = "toy") -> ModelVersion:
    """Publish the next version of a model, from whatever thread or process this is."""
    repository = Repository(root)
    with repository.staging(model) as staged:
        return repository.publish(staged, fill(staged, model=model))
