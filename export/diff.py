"""Compare two published versions: what they promise, where they come from, their scores, sizes, and what they decide.

Both are asked about the model's held-out split, where its folder and data are at hand, and McNemar's exact test says whether
one is right more often than chance explains; else about the golden samples of both. What runs is an artifact of a format
that both have and this machine can open.

exit codes:
  0  compared
  1  compared, and what --fail-on names is the case
  2  could not be compared: no such version, one that is not as published, or what --fail-on asks cannot be told here
"""

import argparse
import json
import sys
from pathlib import Path

from export import answers, diff_report, difference, held_out, version_path
from export.diff_report import Difference
from export.exporter import ExportError, Run, first_line
from export.held_out import Samples
from export.opening import NotHere, opened
from models.manifest import Artifact
from models.repository import ModelVersion, RepositoryError
from models.tensors import Array, Signature, Tensors

#: With so many samples the interval of a share of 1 % is ± 0.2 %; they take seconds on small models.
_SAMPLES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("first", help="the folder of a version (models/digits/2), or of a model for its newest one")
    parser.add_argument("second", help="the version to compare it with")
    parser.add_argument("--data-dir", type=Path, help="folder of the model's dataset; none: what a package carries")
    parser.add_argument("--samples", type=_count, default=_SAMPLES, help="at most so many samples of the held-out split")
    parser.add_argument("--speed", action="store_true", help="also measure how long a call takes here, in turn")
    parser.add_argument(
        "--fail-on",
        choices=("nothing", "changed", "worse"),
        default="nothing",
        help="exit with 1 where the signature or an answer changed; where the second is right less often, and not by chance",
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    try:
        versions = [version_path.find(word).open() for word in (arguments.first, arguments.second)]
        found = compare(versions[0], versions[1], most=arguments.samples, data_dir=arguments.data_dir, speed=arguments.speed)
    except (ExportError, RepositoryError) as error:
        sys.stderr.write(f"sameway diff: {error}\n")
        return 2
    shown = (
        json.dumps(diff_report.to_json(found), indent=2, ensure_ascii=False)
        if arguments.json
        else "\n".join(diff_report.report_lines(found))
    )
    sys.stdout.write(shown + "\n")
    code = exit_code(found, arguments.fail_on)
    if code == 2:
        sys.stderr.write(f"sameway diff: --fail-on {arguments.fail_on}: cannot be told here: {'; '.join(found.remarks)}\n")
    return code


def compare(
    first: ModelVersion, second: ModelVersion, *, most: int = _SAMPLES, data_dir: Path | None = None, speed: bool = False
) -> Difference:
    """Compare two versions; raise ExportError where an artifact fails, RepositoryError for a damaged golden sample."""
    facts, signatures = (
        difference.compare(first.manifest, second.manifest),
        (first.manifest.signature, second.manifest.signature),
    )
    if not _same_inputs(*signatures):
        return Difference(first, second, facts, None, None, ("answers: not compared, as the inputs differ",))
    remarks: list[str] = []
    pair = _opened(first, second, remarks)
    if pair is None:
        return Difference(first, second, facts, None, None, tuple(remarks))
    runs, artifacts = pair
    random = sorted(artifacts[0].random | artifacts[1].random)
    remarks += [f"{name}: not compared, as it is another each time: a random output" for name in random]
    samples = _samples(first, second, most=most, data_dir=data_dir, remarks=remarks)
    asked = answers.compare(runs, (first.manifest, second.manifest), artifacts, samples)
    smallest = min(signature.max_batch_size for signature in signatures)
    sizes = tuple(dict.fromkeys((min(1, smallest), smallest)))
    timed = answers.medians(runs, samples.requests[0], sizes=sizes) if speed else None
    if not speed:
        remarks.append("speed: not recorded in a manifest; --speed measures it here")
    return Difference(first, second, facts, asked, timed, tuple(remarks))


def exit_code(found: Difference, fail_on: str) -> int:
    """Return 1 where what is to fail is the case, 2 where that cannot be told."""
    if fail_on == "nothing":
        return 0
    if fail_on == "worse":
        rightness = None if found.answers is None else found.answers.rightness
        return 2 if rightness is None else int(diff_report.worse(rightness))
    if found.facts.signature:
        return 1
    return 2 if found.answers is None else int(any(output.changed for output in found.answers.outputs))


def _same_inputs(first: Signature, second: Signature) -> bool:
    return first.batched == second.batched and sorted(map(repr, first.inputs)) == sorted(map(repr, second.inputs))


def _opened(
    first: ModelVersion, second: ModelVersion, remarks: list[str]
) -> tuple[tuple[Run, Run], tuple[Artifact, Artifact]] | None:
    """Open the first format that both have and this machine can open; tell why others were left out."""
    theirs = {artifact.format: artifact for artifact in second.manifest.artifacts}
    pairs = [(own, theirs[own.format]) for own in first.manifest.artifacts if own.format in theirs]
    if not pairs:
        remarks.append("answers: not compared, as no format is common to both")
    for one, other in pairs:
        try:
            runs = (_explained(opened(first, one), first), _explained(opened(second, other), second))
        except NotHere as error:
            remarks.append(f"answers: not compared here: {error}")
        else:
            return runs, (one, other)
    return None


def _explained(run: Run, version: ModelVersion) -> Run:
    """Return the same artifact, whose runtime's errors are told as errors of this version."""

    def explained(inputs: Tensors) -> dict[str, Array]:
        try:
            return run(inputs)
        except Exception as error:  # each runtime has errors of its own
            name = f"{version.manifest.model}/{version.manifest.version}"
            raise ExportError(f"{name}: cannot be run on the samples: {first_line(error)}") from error

    return explained


def _samples(first: ModelVersion, second: ModelVersion, *, most: int, data_dir: Path | None, remarks: list[str]) -> Samples:
    """Return the held-out split where both are versions of one model that has it, else the golden samples."""
    try:
        models = {version.manifest.model for version in (first, second)}
        if len(models) != 1:
            raise held_out.Unavailable("they are versions of different models")
        return held_out.held_out_split(models.pop(), first.manifest.signature, most=most, data_dir=data_dir)
    except held_out.Unavailable as error:
        remarks.append(f"held-out split: not used: {error}")
        return held_out.golden_samples(first, second)


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {word!r}")
    return int(word)
