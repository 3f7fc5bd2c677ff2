"""Turn a checkpoint into files of each format, prove that each says what the eager model says, and publish them.

With --model, anybody's module instead of a checkpoint: by the name of what makes it, with real inputs for it. Every
saved file is opened as a stranger would and compared with the eager model on real held-out samples. All formats
pass and become the model's next version together, or nothing is published.

exit codes:
  0  published; with --dry-run, all files agree
  1  a file differs from the eager model, or an image file is read otherwise than in training: nothing published
  2  could not run: no checkpoint, unknown model, code or inputs of --model that fail, a format that cannot express the
     model or that this machine cannot open ("not checked here"), a repository or a report that cannot be written; with
     --profile also: published, and then not measured
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from export import from_factory, profile, profile_command, report, report_html, report_json, report_junit
from export.exporter import BY_TASK, DEFAULT_FORMATS, DEFAULTS, FORMATS, OPSETS, TORCHSCRIPT, ExportError, Options
from export.overheard import overheard
from export.publish import Publication, publish
from export.subject import Subject, of_checkpoint
from export.version_path import VersionPath
from models import spec
from models.profiles import ProfileError
from models.repository import ModelVersion, Repository, RepositoryError
from models.signing import SigningError, signer
from models.spec import DataError, UnknownModel
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint, CheckpointError

#: The report that CI systems look for by its name, written also where nothing could be compared.
JUNIT = "junit.xml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("checkpoint", nargs="?", help="a model's name, for its newest checkpoint, or the path of a checkpoint")
    what.add_argument("--model", metavar="PACKAGE.MODULE:FACTORY", help="what makes a torch module, or one that is there")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="the model repository to publish to")
    parser.add_argument("--formats", type=_formats, default=",".join(DEFAULT_FORMATS), help=f"some of {','.join(FORMATS)}")
    parser.add_argument("--opset", type=int, default=DEFAULTS.opset, help=f"of onnx: {OPSETS[0]} to {OPSETS[-1]}")
    parser.add_argument(
        "--torchscript", choices=TORCHSCRIPT, default=DEFAULTS.torchscript, help="note one run, or compile its Python"
    )
    parser.add_argument(
        "--atol", type=float, help="what floating outputs may differ by, instead of what the model's own noise allows"
    )
    parser.add_argument("--rtol", type=float, help="the same as a share of the expected value; both add up")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="where training leaves checkpoints")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the dataset; none: what a package carries")
    parser.add_argument(
        "--report", type=Path, default=None, metavar="FOLDER", help="write report.json, junit.xml and report.html there"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=DEFAULTS.max_drop,
        help=f"of {', '.join(sorted(BY_TASK))}: how much worse at its task, as a share, with 95 %% confidence",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, publish nothing")
    parser.add_argument("--profile", action="store_true", help="measure what was published on this machine, and record it")
    parser.add_argument(
        "--profile-seconds",
        type=profile_command.seconds,
        default=profile.SECONDS,
        help="with --profile: for each format on each number of threads",
    )
    parser.add_argument(
        "--sign", type=Path, default=None, metavar="KEYFILE", help="sign the manifest with this Ed25519 key; none: unsigned"
    )
    from_factory.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export, check and publish; print the report on standard output, anything that went wrong on standard error."""
    # The stream of this moment: an exporter that must not print has standard error redirected while the status line turns.
    status = Console(file=sys.stderr, highlight=False)
    if arguments.profile and arguments.dry_run:
        sys.stderr.write("sameway export: --profile: expected a version to be published, found --dry-run\n")
        return 2
    try:
        from_factory.check(arguments)
        signs = None if arguments.sign is None else signer(arguments.sign)
        options = Options(arguments.opset, arguments.torchscript, arguments.atol, arguments.rtol, arguments.max_drop)
        name = arguments.name or arguments.checkpoint
        with (
            status.status(f"{name}: building the network") as line,
            overheard() as words,
            _subject(arguments, options) as one,
        ):
            publication = publish(
                one,
                Repository(arguments.repository),
                arguments.formats,
                signer=signs,
                dry_run=arguments.dry_run,
                tell=lambda step: line.update(f"{one.name}: {step}"),
            )
    except (CheckpointError, DataError, ExportError, RepositoryError, SigningError, UnknownModel) as error:
        sys.stderr.write(f"sameway export: {error}\n")
        if arguments.report is not None:
            _write(
                arguments.report, {JUNIT: report_junit.could_not_run(arguments.model or arguments.checkpoint, str(error))}
            )
        return 2
    if words.lines:
        note = f"the module printed {words.lines:,} lines; the first are on standard error"
        publication = replace(publication, notes=(*publication.notes, note))
    report.show(publication, report.terminal())
    for result in publication.results:
        if result.error is not None:
            sys.stderr.write(f"sameway export: {result.error}\n")
    measured = 0
    if arguments.profile and publication.version is not None:
        measured = _profile(publication.version, arguments, status)
    written = arguments.report is None or _write(arguments.report, _reports(publication, dry_run=arguments.dry_run))
    # A file known to be wrong stays the graver news.
    return _exit_code(publication) or measured or (0 if written else 2)


def _reports(publication: Publication, *, dry_run: bool) -> dict[str, bytes]:
    return {
        "report.json": report_json.to_bytes(publication, dry_run=dry_run),
        JUNIT: report_junit.to_bytes(publication),
        "report.html": report_html.to_bytes(publication, dry_run=dry_run),
    }


def _write(folder: Path, reports: Mapping[str, bytes]) -> bool:
    """Write the files of a report; say so and return False where that fails, for a gate without its report is no gate."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in reports.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        sys.stderr.write(f"sameway export: --report {folder}: {error.strerror or error}\n")
        return False
    return True


def _profile(version: ModelVersion, arguments: argparse.Namespace, status: Console) -> int:
    """Measure what was published, print and record it; return the exit code."""
    name = version.manifest.model
    place = VersionPath(Repository(arguments.repository), name, version.manifest.version)
    try:
        # Not while the status line turns: it would take part in what is measured.
        status.print(f"{name}: measuring, {arguments.profile_seconds:g} s for each format on each number of threads")
        profile_command.measure_and_record(place, version, seconds=arguments.profile_seconds, write=sys.stdout.write)
    except ProfileError as error:
        sys.stderr.write(f"sameway export: published, but not measured: {error}\n")
        return 2
    return 0


def _exit_code(publication: Publication) -> int:
    """Return 1 if anything is known to be wrong, though another could not even be made: that is the graver news."""
    if publication.passed:
        return 0
    wrong = any(result.artifact and not result.passed for result in publication.results)
    return 1 if wrong or publication.faults else 2


@contextmanager
def _subject(arguments: argparse.Namespace, options: Options) -> Iterator[Subject]:
    """Give what is to be exported: a module of anybody's, or a checkpoint's network."""
    if arguments.model is not None:
        with from_factory.subject(arguments, options) as subject:
            yield subject
        return
    checkpoint = _checkpoint(arguments.checkpoint, arguments.checkpoints)
    yield of_checkpoint(spec.find(checkpoint.origin.model), checkpoint, options=options, data_dir=arguments.data_dir)


def _checkpoint(word: str, folder: Path) -> Checkpoint:
    """Return the newest checkpoint of the model of that name, or the one at that path."""
    if word in spec.available():
        return checkpoints.load(checkpoints.newest(folder, word))
    path = Path(word)
    if not path.exists():
        names = ", ".join(spec.available())
        raise CheckpointError(f"expected a model ({names}) or the path of a checkpoint, found {word!r}")
    return checkpoints.load(path)


def _formats(words: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(word.strip() for word in words.split(",")))
    unknown = [word for word in formats if word not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FORMATS)}, found {unknown[0]!r}")
    return formats
