"""Publish an ONNX file that somebody else made: with signature, checksum and golden sample, so that it is served verified.

There is no eager model to compare with. So the file is run in every way there is here: by ONNX Runtime with and without its
optimisations, rows alone and together, and by onnx's reference evaluator where that can run it. Where they agree, what ONNX
Runtime answers becomes the golden sample. Rows share an execution only if trying shows them to be independent.

exit codes:
  0  published
  1  two ways of running the file disagree by more than rounding, or its rows depend on each other: nothing published
  2  could not run: no ONNX file, weights outside it, operators nobody knows, inputs it refuses, a repository or a key
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from export import foreign, second_opinion
from export.exporter import ExportError, first_line
from export.onnx_session import GraphTensor, OnnxSession, open_onnx
from export.second_opinion import Contradiction, Opinion
from models import generated, independence
from models.manifest import Artifact, Golden, Manifest, Origin, ParityReport
from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from models.signing import Signer, SigningError, signer
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec, rows_of, show_shape

#: What `origin` says of training data that nobody here has seen.
UNKNOWN = "unknown"

#: Rows of the golden sample at most: it is replayed at each load, and proves the file, not the weights.
_GOLDEN_ROWS = 16


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was published. `batching` says why there is a batch axis or none, `reference` who else has run the file."""

    version: ModelVersion
    batching: str
    reference: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("file", type=Path, help="the ONNX file")
    parser.add_argument("--name", required=True, help="the model's name in the repository")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="the model repository to publish to")
    parser.add_argument(
        "--inputs", type=Path, metavar="NPZ", help="real inputs, an array under each input's name; none: random ones"
    )
    parser.add_argument(
        "--max-batch-size",
        type=_rows,
        metavar="ROWS",
        help=f"the largest batch to try, 0 for no batch axis; none: {independence.PROBED_ROWS} where rows allow it",
    )
    parser.add_argument("--seed", type=_rows, default=0, help="which random inputs")
    parser.add_argument(
        "--sign", type=Path, metavar="KEYFILE", help="sign the manifest with this Ed25519 key; none: unsigned"
    )


def run(arguments: argparse.Namespace) -> int:
    """Import and print what was published."""
    try:
        signs = None if arguments.sign is None else signer(arguments.sign)
        inputs = None if arguments.inputs is None else read_inputs(arguments.inputs)
        adoption = adopt(
            arguments.file,
            arguments.name,
            Repository(arguments.repository),
            inputs=inputs,
            max_batch_size=arguments.max_batch_size,
            seed=arguments.seed,
            signer=signs,
        )
    except Contradiction as error:
        sys.stderr.write(f"sameway import: {arguments.file.name}: {error}: nothing published\n")
        return 1
    except (ExportError, RepositoryError, SigningError) as error:
        sys.stderr.write(f"sameway import: {error}\n")
        return 2
    sys.stdout.write("\n".join(_lines(adoption)) + "\n")
    return 0


def adopt(
    file: Path,
    name: str,
    repository: Repository,
    *,
    inputs: Tensors | None = None,
    max_batch_size: int | None = None,
    seed: int = 0,
    signer: Signer | None = None,
) -> Adoption:
    """Publish the file as the model's next version; nothing is left behind where that fails.

    Raise ExportError for a file or inputs that cannot be used, Contradiction where ways of running it disagree,
    RepositoryError.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ExportError(f"{file}: {error.strerror or error}") from error
    model = foreign.read(data, file.name)
    with repository.staging(name) as staged:
        path = staged / "model.onnx"
        try:
            path.write_bytes(data)
        except OSError as error:
            raise RepositoryError(f"cannot write {path.name}: {error.strerror or error}") from error
        session, plain = open_onnx(path), open_onnx(path, optimised=False)
        signature, samples, batching = _signed(session, inputs, max_batch_size, seed)
        opinion = second_opinion.measure(session.run, plain.run, model, signature, samples)
        golden = _write_golden(staged, signature, opinion)
        digest = sha256_of(path)
        sizes = (1, signature.max_batch_size) if signature.batched else (0,)
        parity = ParityReport("onnx", tuple(dict.fromkeys(sizes)), golden.rows, opinion.parity)
        recipe = {"imported": file.name, "sha256": digest, **foreign.describe(model), "batching": batching}
        recipe |= {"reference": opinion.reference, "inputs": "given" if inputs is not None else f"random, seed {seed}"}
        libraries = {package: importlib.metadata.version(package) for package in ("onnx", "onnxruntime", "numpy")}
        manifest = Manifest(
            model=name,
            version=0,  # the repository gives the number
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=signature,
            content=None,
            artifacts=(Artifact("onnx", path.name, digest, path.stat().st_size, opinion.tolerance, parity),),
            golden=golden,
            checkpoint=digest,
            origin=Origin(name, UNKNOWN, seed, recipe, {}, libraries, None, None),
        )
        return Adoption(repository.publish(staged, manifest, signer=signer), batching, opinion.reference)


def read_inputs(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file; raise ExportError. Pickles are refused."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: arrays[name].astype(object) if arrays[name].dtype.kind == "U" else arrays[name] for name in arrays}
    except Exception as error:  # what numpy raises for a file that is no .npz depends on the bytes
        raise ExportError(f"{path}: expected an .npz file of arrays: {first_line(error)}") from error


def _signed(session: OnnxSession, given: Tensors | None, wanted: int | None, seed: int) -> tuple[Signature, Tensors, str]:
    """Return the signature, inputs for the golden sample, and why there is a batch axis or none."""
    whole = _signature(session, 0)
    most = independence.PROBED_ROWS if wanted is None else wanted
    if given is not None:
        _check_names(whole, given)
    if most == 0:
        return whole, _requests(session, whole, given, seed), "none, as stated"
    problem = _no_batch_axis(session)
    if problem is None:
        rows = _signature(session, most)
        problem, samples = _independent(session, rows, given, seed)
        if problem is None:
            return rows, rows_of(samples, 0, min(most, _GOLDEN_ROWS)), f"up to {most} rows, tried and found independent"
    if wanted is not None:
        raise Contradiction(f"--max-batch-size {wanted}: {problem}")
    return whole, _requests(session, whole, given, seed), f"none: {problem}"


def _signature(session: OnnxSession, rows: int) -> Signature:
    start = 1 if rows else 0

    def specs(tensors: tuple[GraphTensor, ...]) -> Iterator[TensorSpec]:
        for tensor in tensors:
            shape = (axis if isinstance(axis, int) else None for axis in tensor.axes[start:])
            yield TensorSpec(tensor.name, tensor.datatype, tuple(shape))

    try:
        return Signature(tuple(specs(session.inputs)), tuple(specs(session.outputs)), rows)
    except SignatureError as error:
        raise ExportError(str(error)) from error


def _no_batch_axis(session: OnnxSession) -> str | None:
    """Return which tensor has no free first axis, or one that names another axis too; None where each has one."""
    tensors = (*session.inputs, *session.outputs)
    firsts = {tensor.axes[0] for tensor in tensors if tensor.axes}
    for tensor in tensors:
        if not tensor.axes or isinstance(tensor.axes[0], int):
            shape = show_shape(axis if isinstance(axis, int) else None for axis in tensor.axes)
            return f"{tensor.name!r} has the shape {shape}, without a free first axis"
        again = [axis for axis in tensor.axes[1:] if isinstance(axis, str) and axis in firsts]
        if again:
            return f"{tensor.name!r} has the axis {again[0]!r}, which is a first axis, again further in"
    return None


def _independent(session: OnnxSession, signature: Signature, given: Tensors | None, seed: int) -> tuple[str | None, Tensors]:
    """Return what keeps rows from sharing an execution, or None, and the rows that were tried."""

    def run(rows: Tensors) -> Tensors:
        outputs, count = session.run(rows), len(next(iter(rows.values())))
        for spec in signature.outputs:
            signature.check_tensor(spec, outputs[spec.name])
            if len(outputs[spec.name]) != count:
                raise SignatureError(spec.name, expected=f"{count} rows", found=f"{len(outputs[spec.name])}")
        return outputs

    if given is not None:
        counts = {array.shape[:1] for array in given.values()}
        if len(counts) != 1 or counts == {()}:
            return "the inputs given have first axes of different lengths", given
        for spec in signature.inputs:
            _fits(signature, spec, given[spec.name])
        return independence.dependence_of(run, signature, given), given
    refusal = "no length of its free axes could be tried"
    for length in generated.lengths(signature):
        rows = generated.inputs(signature, rows=max(signature.max_batch_size, _GOLDEN_ROWS), length=length, seed=seed)
        try:
            run(rows_of(rows, 0, 1))
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own, and another length may suit it
            refusal = f"random rows cannot be run: {first_line(error)}"
            continue
        found = independence.dependence_of(run, signature, rows)
        return (None if found is None else f"{found} (random rows; real ones, --inputs, may show more)"), rows
    return refusal, {}


def _requests(session: OnnxSession, whole: Signature, given: Tensors | None, seed: int) -> Tensors:
    """Return one request of a model without a batch axis that it takes; raise ExportError."""
    if given is not None:
        for spec in whole.inputs:
            _fits(whole, spec, given[spec.name])
        _try(session, given, "the inputs given")
        return given
    for length in generated.lengths(whole):
        made = generated.inputs(whole, rows=1, length=length, seed=seed)
        try:
            _try(session, made, "random inputs")
        except ExportError as error:
            refusal = error
            continue
        return made
    raise ExportError(f"{refusal}; give real ones with --inputs")


def _try(session: OnnxSession, inputs: Tensors, which: str) -> None:
    try:
        session.run(inputs)
    except Exception as error:  # each runtime has errors of its own
        raise ExportError(f"{which} cannot be run: {first_line(error)}") from error


def _check_names(signature: Signature, given: Tensors) -> None:
    expected = [spec.name for spec in signature.inputs]
    if set(given) != set(expected):
        raise ExportError(f"--inputs: expected the arrays {', '.join(expected)}, found {', '.join(given) or 'none'}")


def _fits(signature: Signature, spec: TensorSpec, array: Array) -> None:
    try:
        signature.check_tensor(spec, array)
    except SignatureError as error:
        raise ExportError(f"--inputs: {error}") from error


def _write_golden(folder: Path, signature: Signature, opinion: Opinion) -> Golden:
    """Write the golden sample. Texts are written at a fixed width: an object array would be a pickle."""
    arrays = {f"input:{name}": array for name, array in opinion.inputs.items()}
    arrays |= {f"output:{name}": array for name, array in opinion.outputs.items()}
    flat = {name: array.astype(str) if array.dtype.kind == "O" else array for name, array in arrays.items()}
    path = folder / "golden.npz"
    try:
        np.savez(path, allow_pickle=False, **flat)
    except OSError as error:
        raise RepositoryError(f"cannot write {path.name}: {error.strerror or error}") from error
    rows = len(next(iter(opinion.inputs.values()))) if signature.batched else 1
    return Golden(path.name, sha256_of(path), path.stat().st_size, rows)


def _lines(adoption: Adoption) -> list[str]:
    """Return the report."""
    version, signature = adoption.version, adoption.version.manifest.signature
    lines = []
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        lines += [f"{kind:<10}{spec.name}: {spec.datatype} {show_shape(signature.full_shape(spec))}" for spec in specs]
    (artifact,) = version.manifest.artifacts
    for one in artifact.parity.outputs:
        lines.append(f"{'noise':<10}{one.output}: {one.noise_floor:.1e}, a replay may differ by {one.tolerance:.1e}")
    name = f"{version.manifest.model}/{version.manifest.version}"
    lines += [f"{'batching':<10}{adoption.batching}", f"{'reference':<10}{adoption.reference}"]
    return [*lines, f"published {name} sha256:{version.digest}"]


def _rows(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {word!r}")
    return int(word)
