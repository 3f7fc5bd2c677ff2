"""The suite at work: what each format makes of a case, and whether the faults planted in it are noticed."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from export import eager, parity, tolerance
from export.attempt import FormatResult, Truth, attempt, judged, measured
from export.exporter import ExportError, ExportSource, exporter_of
from export.reference import Reference
from export.subject import Subject
from models.tensors import Array
from tests.export.suite.case import PASSES, Case
from tests.export.suite.faults import planted, write_baked

#: A fault counts where it moves an output by more than so many noise floors, in eager mode and float64; ten are tolerated.
COUNTS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What was said of one file: of an honest one (`kind` is empty), or of one with a fault. "" stands for `passed`.

    `equivalent` tells that the fault moves no output so far that anybody could notice.
    """

    case: str
    format: str
    said: str
    kind: str = ""
    place: str = ""
    equivalent: bool = False

    @property
    def missed(self) -> bool:
        """Whether a fault that can be noticed was not."""
        return bool(self.kind) and not self.equivalent and self.said == PASSES


def verdicts(case: Case, formats: Sequence[str]) -> dict[str, str]:
    """Return what is said of each format of the honest module, PASSES where nothing is wrong."""
    module = case.module()
    try:
        with _alone() as folder, case.subject(module) as given:
            subject, truth = measured(given, [], _nobody)
            if subject.source.signature.batched != case.batched:
                return dict.fromkeys(formats, f"max_batch_size {subject.source.signature.max_batch_size}")
            return {format: _said(attempt(format, subject, truth, folder, tell=_nobody)) for format in formats}
    except ExportError as error:
        return dict.fromkeys(formats, str(error))


def faults(case: Case, formats: Sequence[str]) -> Iterator[Finding]:
    """Plant every fault in a case that is right, export it in each format, and yield whether that was noticed."""
    module = case.module()
    with _alone() as folder, case.subject(module) as given:
        subject, truth = measured(given, [], _nobody)
        honest = _exactly(subject.source)
        for fault in planted(subject.source):
            equivalent = not _moves(honest, _exactly(fault.source), truth.reference)
            for format in formats:
                path = folder / exporter_of(format).filename
                said = _file_of(format, fault.source, path) or _judged(format, path, subject, truth)
                yield Finding(case.name, format, said, fault.kind, fault.place, equivalent)
        if subject.source.signature.batched:
            yield from _baked(case.name, subject, truth, formats, folder)


def _baked(name: str, subject: Subject, truth: Truth, formats: Sequence[str], folder: Path) -> Iterator[Finding]:
    for format in formats:
        path = folder / exporter_of(format).filename
        write_baked(format, subject.source, path)
        yield Finding(
            name, format, _said(judged(format, path, subject, truth, tell=_nobody)), "baked batch axis", "all inputs"
        )


def _judged(format: str, path: Path, subject: Subject, truth: Truth) -> str:
    """Return what export says of a file: what the samples show, if they do, else all that is looked at besides."""
    signature = subject.source.signature
    with contextlib.suppress(ExportError):
        run = exporter_of(format).open(path, signature)
        shown = parity.compare(format, run, truth.reference, sizes=parity.batch_sizes(signature)).faults
        if shown:
            return shown[0]
    return _said(judged(format, path, subject, truth, tell=_nobody))


def _file_of(format: str, source: ExportSource, path: Path) -> str | None:
    """Write a file, and return None; or why the exporter refuses to."""
    try:
        exporter_of(format).export(source, path)
    except ExportError as error:
        return str(error)
    return None


def _said(result: FormatResult) -> str:
    if result.error is not None:
        return result.error
    return PASSES if result.passed else "; ".join(result.faults)


def _exactly(source: ExportSource) -> dict[str, Array]:
    return eager.in_float64(source, source.samples, batch_size=source.signature.max_batch_size).outputs


def _moves(honest: dict[str, Array], faulty: dict[str, Array], reference: Reference) -> bool:
    """Tell whether some output of the faulted module is another one, in float64."""
    for name, output in reference.outputs.items():
        if output.random is not None:
            continue
        if output.discrete:
            if ((honest[name] != faulty[name]) & ~output.undecided).any():
                return True
        elif (tolerance.difference(faulty[name], honest[name]) > COUNTS / tolerance.ALLOWED_FLOORS * output.allowed).any():
            return True
    return False


@contextlib.contextmanager
def _alone() -> Iterator[Path]:
    """Give a folder for files, with what modules print kept off the terminal."""
    with tempfile.TemporaryDirectory(prefix="sameway-suite-") as folder, contextlib.redirect_stdout(io.StringIO()):
        yield Path(folder)


def _nobody(step: str) -> None:
    """Tell nobody of the steps."""
