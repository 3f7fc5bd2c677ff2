"""What is evaluated, a checkpoint or a published version, as a function of tensors.

A version answers through its runtime, cut into requests that it takes, so its scores are those of what is served. What a
command line calls it: nothing for the newest checkpoint, a number for a version in the repository, or a folder.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export import version_path
from export.exporter import ExportError, Run, first_line
from export.opening import NotHere, opened
from models.manifest import Artifact, Origin
from models.repository import MANIFEST, ModelVersion
from models.spec import ModelSpec
from models.tensors import Array, Signature, SignatureError, TensorSpec, rows_of
from training import checkpoint as checkpoints
from training.checkpoint import FACTS, WEIGHTS
from training.evaluate import Predict, predict_with


class SubjectError(Exception):
    """What was named cannot be evaluated: it is not there, of another model, or does not answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated. `digest` is the SHA-256 of a checkpoint's weights, or of a version's manifest.

    `format` is that of a version's artifact, None for a checkpoint.
    """

    name: str
    format: str | None
    digest: str
    origin: Origin
    predict: Predict
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it is called in a report."""
        return self.name if self.format is None else f"{self.name} ({self.format})"


@dataclass(frozen=True, slots=True)
class Places:
    """Where subjects are looked for, and the format that versions are asked in; None for the first that can be opened."""

    checkpoints: Path
    repository: Path
    format: str | None = None
    threads: int = 1


def find(spec: ModelSpec, word: str | None, places: Places) -> Subject:
    """Return the subject that a word names; raise SubjectError, CheckpointError or RepositoryError."""
    if word is None:
        return of_checkpoint(spec, checkpoints.newest(places.checkpoints, spec.name))
    if word.isdecimal():
        return of_version(spec, str(places.repository / spec.name / word), places)
    path = Path(word)
    if (path / FACTS).exists() or (path / WEIGHTS).exists():
        return of_checkpoint(spec, path)
    if path.name.isdecimal() or (path / MANIFEST).exists() or any(path.glob(f"[1-9]*/{MANIFEST}")):
        return of_version(spec, word, places)
    expected = "the folder of a checkpoint or of a version, or a version's number"
    raise SubjectError(f"{word}: expected {expected}, found {'neither' if path.exists() else 'no such folder'}")


def of_checkpoint(spec: ModelSpec, path: Path) -> Subject:
    """Return a checkpoint's network, as it would be served; raise CheckpointError or SubjectError."""
    found = checkpoints.load(path)
    if found.origin.model != spec.name:
        raise SubjectError(f"{path}: expected a checkpoint of {spec.name!r}, found one of {found.origin.model!r}")
    network = spec.build()
    checkpoints.restore(found, network)
    return Subject(str(path), None, found.sha256, found.origin, predict_with(spec, network.eval()))


def of_version(spec: ModelSpec, word: str, places: Places) -> Subject:
    """Return an artifact of a version, through its runtime; raise RepositoryError or SubjectError."""
    version = version_path.find(word).open()
    manifest = version.manifest
    name = f"{manifest.model}/{manifest.version}"
    if manifest.model != spec.name:
        raise SubjectError(f"{word}: expected a version of {spec.name!r}, found one of {manifest.model!r}")
    _check(name, spec, manifest.signature)
    artifact, run = _open(name, version, places)
    notes: tuple[str, ...] = ()
    if spec.task.output in artifact.random:
        notes = (f"{name}: {spec.task.output} is another each time: a random output, so its scores are too",)
    predict = answering(f"{name} ({artifact.format})", run, manifest.signature, spec.task.output)
    return Subject(name, artifact.format, version.digest, manifest.origin, predict, notes)


def _check(name: str, spec: ModelSpec, signature: Signature) -> None:
    """Raise SubjectError unless a version takes the model's inputs and gives the output that its task looks at."""

    def words(tensors: tuple[TensorSpec, ...]) -> str:
        return ", ".join(f"{tensor.name} {tensor.datatype}" for tensor in tensors)

    wanted = spec.signature.output(spec.task.output)
    found = signature.output(spec.task.output)
    if wanted is None or found is None or found.datatype != wanted.datatype:
        expected = f"{spec.task.output} FP32, which the task looks at"
        raise SubjectError(f"{name}: outputs: expected {expected}, found {words(signature.outputs)}")
    taken, given = words(signature.inputs), words(spec.signature.inputs)
    if sorted(taken.split(", ")) != sorted(given.split(", ")):
        raise SubjectError(f"{name}: inputs: expected {given}, as of the model's data, found {taken}")


def _open(name: str, version: ModelVersion, places: Places) -> tuple[Artifact, Run]:
    """Open the artifact of the format that is asked for, or the first for which there is a runtime here."""
    artifacts = version.manifest.artifacts
    formats = ", ".join(artifact.format for artifact in artifacts)
    chosen = [artifact for artifact in artifacts if places.format in (None, artifact.format)]
    if not chosen:
        raise SubjectError(f"{name}: format: expected one of {formats}, found {places.format!r}")
    missing = []
    for artifact in chosen:
        try:
            return artifact, opened(version, artifact, threads=places.threads)
        except NotHere as error:
            missing.append(str(error))
        except ExportError as error:
            raise SubjectError(f"{name}: {error}") from error
    raise SubjectError(f"{name}: cannot be opened here: {'; '.join(missing) or 'it holds no artifact'}")


def answering(name: str, run: Run, signature: Signature, output: str) -> Predict:
    """Return an artifact as a function of a batch of any size; what it raises is SubjectError.

    Under `max_batch_size` 0 a signature without an axis for samples is asked about one by one. One whose first axis is free,
    since its rows look at each other, is asked about a whole batch at once, as the network was in training.
    """

    def ask(request: dict[str, Array]) -> Tensor:
        try:
            signature.check(request)
            found = run(request)[output]
        except SignatureError as error:
            raise SubjectError(f"{name}: the test split does not fit it: {error}") from error
        except Exception as error:  # each runtime has errors of its own
            raise SubjectError(f"{name}: cannot be run on the test split: {first_line(error)}") from error
        return torch.from_numpy(np.array(found))  # a copy: a runtime may use its memory again

    def predict(inputs: dict[str, Tensor]) -> Tensor:
        arrays = {spec.name: inputs[spec.name].numpy() for spec in signature.inputs}
        rows = len(arrays[signature.inputs[0].name])
        if signature.batched:
            size = signature.max_batch_size
            return torch.cat([ask(rows_of(arrays, start, start + size)) for start in range(0, rows, size)])
        if all(arrays[spec.name].ndim == len(spec.shape) for spec in signature.inputs):
            return ask(arrays)
        return torch.stack([ask({one: array[row, ...] for one, array in arrays.items()}) for row in range(rows)])

    return predict
