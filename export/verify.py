"""Check a published version once more, on this machine: checksums, signature, and the golden sample in every runtime here.

Each artifact whose runtime is installed is opened as a stranger would open it, and must reproduce the golden sample, alone
and in the largest batch. ONNX Runtime is enough to begin with: torch is needed for its own formats alone.

exit codes:
  0  right, as far as it could be checked: the table says what could not
  1  not as published: a file was altered, a signature is missing or wrong, an artifact does not reproduce the golden sample
  2  nothing could be checked: no such version, unusable keys, no runtime for any artifact; with --all, for one of them
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export import version_path
from export.exporter import ExportError, first_line
from export.opening import NotHere, opened
from export.tolerance import difference
from models import chance
from models.content import Content, ContentError
from models.manifest import Artifact
from models.repository import MANIFEST, SIGNATURE, ModelVersion, RepositoryError
from models.signing import SigningError, Trust, trusted_keys
from models.tensors import Signature, SignatureError, Tensors, rows_of


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one output of one artifact. `passed` is None where it could not be checked; `found` says why."""

    format: str
    output: str
    apart: float | None
    allowed: float | None
    found: str
    passed: bool | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("version", help="the folder of a version (models/digits/3), or of a model for its newest one")
    parser.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="demand a signature by one of these Ed25519 public keys (PEM)"
    )
    parser.add_argument("--all", action="store_true", help="exit with 2 where one artifact could not be checked here")


def run(arguments: argparse.Namespace) -> int:
    """Verify and print the table; what is not as published goes to standard error."""
    try:
        trust = None if arguments.trusted_keys is None else Trust(trusted_keys(arguments.trusted_keys), required=True)
        place = version_path.find(arguments.version, trust=trust)
    except (RepositoryError, SigningError) as error:
        sys.stderr.write(f"sameway verify: {error}\n")
        return 2
    try:
        version = place.open()
        checks = verify(version)
    except RepositoryError as error:
        sys.stderr.write(f"sameway verify: {error}\n")
        return 1
    sys.stdout.write("\n".join(_lines(version, checks, signed=trust is not None)) + "\n")
    return exit_code(checks, every=arguments.all)


def verify(version: ModelVersion) -> list[Check]:
    """Replay the golden sample in every artifact that can be opened here; raise RepositoryError for a damaged sample."""
    golden = version.golden()
    checks = [check for artifact in version.manifest.artifacts for check in _artifact(version, artifact, golden)]
    if version.manifest.content is not None:
        checks.append(_content(version.manifest.content, golden[0]))
    return checks


def exit_code(checks: Sequence[Check], *, every: bool) -> int:
    """Return 1 where anything is wrong, 2 where nothing was checked or, if every artifact has to be, one was not."""
    if any(check.passed is False for check in checks):
        return 1
    artifacts = [check for check in checks if check.format]
    unchecked = [check for check in artifacts if check.passed is None]
    return 2 if len(unchecked) == len(artifacts) or (every and unchecked) else 0


def _artifact(version: ModelVersion, artifact: Artifact, golden: tuple[Tensors, Tensors]) -> list[Check]:
    """Return a check for each output of one artifact."""
    signature = version.manifest.signature

    def all_outputs(found: str, passed: bool | None) -> list[Check]:
        return [Check(artifact.format, "", None, None, found, passed)]

    if any(spec.datatype == "BF16" for spec in (*signature.inputs, *signature.outputs)):
        return all_outputs("not checked here: numpy has no BF16", None)
    try:
        run = opened(version, artifact)
    except NotHere as error:
        return all_outputs(f"not checked here: {error}", None)
    except ExportError as error:
        return all_outputs(str(error), False)
    checks: dict[str, Check] = {}
    for inputs, expected in _batches(signature, golden):
        try:
            outputs = run(inputs)
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
            return all_outputs(f"cannot be run on the golden sample: {first_line(error)}", False)
        for spec in signature.outputs:
            allowed = None if spec.name in artifact.random else artifact.tolerance.get(spec.name, 0.0)
            check = _judge(artifact.format, spec.name, outputs, expected, allowed)
            checks[spec.name] = max(checks.get(spec.name, check), check, key=_badness)
    return list(checks.values())


def _badness(check: Check) -> tuple[bool, float]:
    return not check.passed, check.apart or 0.0


def _batches(signature: Signature, golden: tuple[Tensors, Tensors]) -> list[tuple[Tensors, Tensors]]:
    """Return the golden sample as it is replayed: its first row alone, and the largest batch full of its rows."""
    if not signature.batched:
        return [golden]
    rows = len(next(iter(golden[0].values())))
    largest = np.arange(signature.max_batch_size) % rows
    inputs, outputs = ({name: array[largest] for name, array in tensors.items()} for tensors in golden)
    return [(rows_of(golden[0], 0, 1), rows_of(golden[1], 0, 1)), (inputs, outputs)]


def _judge(format: str, name: str, outputs: Tensors, expected: Tensors, allowed: float | None) -> Check:
    """Compare one output with the golden sample: equal within what is allowed, or equal where it is no floating number.

    None is allowed where the output is random: then shape, datatype and finiteness count.
    """
    found, wanted = outputs.get(name), expected[name]
    if found is None:
        return Check(format, name, None, allowed, f"no such output, but {', '.join(outputs)}", False)
    if allowed is None:
        fault = chance.unlike(found, wanted)
        return Check(format, name, None, None, fault or "random: as finite, and of the shape", fault is None)
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        said = f"expected {wanted.dtype} {list(wanted.shape)}, found {found.dtype} {list(found.shape)}"
        return Check(format, name, None, allowed, said, False)
    if found.dtype.kind != "f":
        wrong = int(np.count_nonzero(found != wanted))
        said = f"{wrong:,} of {wanted.size:,} values differ" if wrong else "equal"
        return Check(format, name, float(wrong), None, said, not wrong)
    apart = float(np.max(difference(found, wanted), initial=0.0))
    return Check(format, name, apart, allowed, "equal" if apart <= allowed else "DIFFERS", apart <= allowed)


def _content(content: Content, inputs: Tensors) -> Check:
    """Write the first golden input as people would send it, and read it back."""
    first = {name: array[:1] for name, array in inputs.items()}
    try:
        same = content.input.restores(first)
    except (ContentError, SignatureError) as error:
        return Check("", "content", None, None, str(error), False)
    return Check("", "content", None, None, "read as it was written" if same else "is read as other values", same)


def _lines(version: ModelVersion, checks: Sequence[Check], *, signed: bool) -> list[str]:
    """Return the report."""
    manifest = version.manifest
    name = f"{manifest.model}/{manifest.version}"
    files = [MANIFEST, *(artifact.file for artifact in manifest.artifacts), manifest.golden.file]
    origin = manifest.origin
    commit = "unknown" if origin.commit is None else f"{origin.commit}{' with changes' if origin.dirty else ''}"
    there = (version.path / SIGNATURE).exists()
    unsigned = f"not checked: there is one, --trusted-keys says whose is believed ({SIGNATURE})" if there else "none"
    replayed = "one request, replayed"
    if manifest.signature.batched:
        replayed = f"{manifest.golden.rows} rows, replayed alone and in the largest batch"
    lines = [
        f"{name} sha256:{version.digest}",
        f"published   {manifest.published}, from commit {commit}",
        f"checksums   right: {', '.join(files)}",
        f"signature   {'by a trusted key' if signed else unsigned}",
        f"golden      {replayed}",
        "",
        *_table(checks),
        "",
    ]
    formats = {check.format for check in checks if check.format}
    here = {check.format for check in checks if check.format and check.passed is not None}
    wrong = {check.format or "content" for check in checks if check.passed is False}
    verdict = f"WRONG: {', '.join(sorted(wrong))}" if wrong else f"{len(here)} of {len(formats)} artifacts are right"
    unchecked = f"; not checked here: {', '.join(sorted(formats - here))}" if formats - here else ""
    return [*lines, f"{name}: {verdict}{unchecked}"]


def _table(checks: Sequence[Check]) -> list[str]:
    rows: list[tuple[str, ...]] = [("artifact", "output", "max abs", "allowed", "")]
    for check in checks:
        numbers = ["–" if number is None else f"{number:.1e}" for number in (check.apart, check.allowed)]
        rows.append((check.format or "content", check.output or "–", *numbers, check.found))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    sides = (str.ljust, str.ljust, str.rjust, str.rjust)
    lines = []
    for *cells, found in rows:
        padded = (side(cell, width) for side, cell, width in zip(sides, cells, widths, strict=True))
        lines.append("  ".join((*padded, found)).rstrip())
    return lines
