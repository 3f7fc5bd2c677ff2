"""Score a checkpoint or a published version of a model on its held-out test split.

What is scored is the newest checkpoint, the folder of a checkpoint, or a version: its number in the repository, or its
folder. A version answers through its runtime, as it is served. Every score comes with its 95 % interval; a classifier's
classes and its calibration follow, and the worst mistakes. With --compare, two are scored, and a paired test says whether
one of them is better.

exit codes:
  0  scored
  1  could not: no such checkpoint or version, one that is damaged, of another model or without the output that is scored,
     data that are missing, a report that cannot be written
  2  a wrong argument
"""

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console

from export.exporter import FORMATS
from models.repository import RepositoryError
from models.spec import DataError, ModelSpec, UnknownModel, find
from training import opened, report_terminal
from training.checkpoint import CheckpointError, check_writable
from training.cores import most_threads, sensible_threads
from training.findings import Evaluation, evaluate_all
from training.opened import Places, Subject, SubjectError


class UsageError(ValueError):
    """Arguments that argparse cannot judge do not go together."""


class ReportError(Exception):
    """The report cannot be written; the message says where and why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `sameway evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="the name of a folder under models/")
    parser.add_argument(
        "subject", metavar="CHECKPOINT|VERSION", nargs="?", help="a checkpoint's folder, a version's number or its folder"
    )
    parser.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="score two checkpoints or versions, and test which is better"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="of a version's artifacts; without: the first that can be opened here"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a downloaded data set, in place of the packaged one")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="where checkpoints are")
    parser.add_argument("--repository", type=Path, default=Path("models"), metavar="DIR", help="the model repository")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    parser.add_argument("--threads", type=int, help="cores to compute on (default: all but one)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print; return the exit code. What went wrong is one line on standard error."""
    try:
        found = _evaluate(find(arguments.model), arguments)
        report_terminal.show(found, report_terminal.terminal())
        if arguments.report is not None:
            _write(arguments.report, _reports(found))
    except (UnknownModel, UsageError) as error:
        return _fail(error, 2)
    except (CheckpointError, DataError, ReportError, RepositoryError, SubjectError) as error:
        return _fail(error, 1)
    return 0


def _evaluate(spec: ModelSpec, arguments: argparse.Namespace) -> Evaluation:
    words: list[str | None] = list(arguments.compare) if arguments.compare else [arguments.subject]
    if arguments.compare and arguments.subject is not None:
        raise UsageError(f"--compare: expected no other checkpoint or version, found {arguments.subject!r}")
    threads = sensible_threads() if arguments.threads is None else arguments.threads
    if not 1 <= threads <= most_threads():
        raise UsageError(f"threads: expected 1 to {most_threads()}, found {threads}")
    if arguments.report is not None:
        _check(arguments.report)
    torch.set_num_threads(threads)
    places = Places(arguments.checkpoints, arguments.repository, arguments.format, threads)
    subjects = [opened.find(spec, word, places) for word in words]
    _check_format(subjects, arguments.format)
    status = Console(file=sys.stderr, highlight=False)
    with status.status(f"{spec.name}: asking about the test split"):
        return evaluate_all(spec, subjects, arguments.data_dir)


def _check_format(subjects: list[Subject], format: str | None) -> None:
    """Raise UsageError where a format is asked for that nothing could have."""
    if format is not None and all(subject.format is None for subject in subjects):
        raise UsageError(f"--format {format}: expected a version, found {subjects[0].name}, a checkpoint")


def _check(folder: Path) -> None:
    """Make the folder of the report; raise ReportError where that or the report cannot be, before anything is computed."""
    try:
        importlib.import_module("training.report_html")
    except ModuleNotFoundError as error:
        remedy = "install it with: pip install 'sameway[train]'"
        raise ReportError(f"--report: needs the package {error.name!r}; {remedy}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        raise ReportError(f"--report {folder}: {error.strerror or error}") from error
    except CheckpointError as error:
        raise ReportError(f"--report {error}") from error


def _reports(found: Evaluation) -> dict[str, bytes]:
    from training import (
        report_html,
        report_json,
    )  # matplotlib takes a second to import, which is not wanted without a report

    return {"report.json": report_json.to_bytes(found), "report.html": report_html.to_bytes(found)}


def _write(folder: Path, reports: Mapping[str, bytes]) -> None:
    try:
        for name, data in reports.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise ReportError(f"--report {folder}: {error.strerror or error}") from error


def _fail(reason: object, exit_code: int) -> int:
    sys.stderr.write(f"sameway evaluate: {reason}\n")
    return exit_code
