"""Turn a checkpoint into files of each format, prove that each says what the eager model says, and publish them.

Every saved file is opened as a stranger would and compared with the eager model on real held-out samples. All formats
pass and become the model's next version together, or nothing is published.

exit codes:
  0  published; with --dry-run, all files agree
  1  a file differs from the eager model, or an image file is read otherwise than in training: nothing published
  2  could not run: no checkpoint, unknown model, a format that cannot express the model or that this machine cannot open
     ("not checked here"), a repository that cannot be written
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from export import report
from export.exporter import DEFAULT_FORMATS, DEFAULTS, FORMATS, OPSETS, TORCHSCRIPT, ExportError, Options
from export.publish import Publication, publish
from export.subject import of_checkpoint
from models import spec
from models.repository import Repository, RepositoryError
from models.signing import SigningError, signer
from models.spec import DataError, UnknownModel
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint, CheckpointError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("checkpoint", help="a model's name, for its newest checkpoint, or the path of a checkpoint")
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
    parser.add_argument("--dry-run", action="store_true", help="check everything, publish nothing")
    parser.add_argument(
        "--sign", type=Path, default=None, metavar="KEYFILE", help="sign the manifest with this Ed25519 key; none: unsigned"
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, check and publish; print the report on standard output, anything that went wrong on standard error."""
    # The stream of this moment: an exporter that must not print has standard error redirected while the status line turns.
    status = Console(file=sys.stderr, highlight=False)
    try:
        checkpoint = _checkpoint(arguments.checkpoint, arguments.checkpoints)
        model = spec.find(checkpoint.origin.model)
        signs = None if arguments.sign is None else signer(arguments.sign)
        with status.status(f"{model.name}: starting") as line:
            line.update(f"{model.name}: rebuilding the network from its checkpoint")
            options = Options(arguments.opset, arguments.torchscript, arguments.atol, arguments.rtol)
            publication = publish(
                of_checkpoint(model, checkpoint, options=options, data_dir=arguments.data_dir),
                Repository(arguments.repository),
                arguments.formats,
                signer=signs,
                dry_run=arguments.dry_run,
                tell=lambda step: line.update(f"{model.name}: {step}"),
            )
    except (CheckpointError, DataError, ExportError, RepositoryError, SigningError, UnknownModel) as error:
        sys.stderr.write(f"sameway export: {error}\n")
        return 2
    report.show(publication, report.terminal())
    for result in publication.results:
        if result.error is not None:
            sys.stderr.write(f"sameway export: {result.error}\n")
    return _exit_code(publication)


def _exit_code(publication: Publication) -> int:
    """Return 1 if anything is known to be wrong, though another could not even be made: that is the graver news."""
    if publication.passed:
        return 0
    wrong = any(result.artifact and not result.passed for result in publication.results)
    return 1 if wrong or publication.faults else 2


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
