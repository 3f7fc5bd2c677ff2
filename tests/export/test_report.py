import io
import math

import pytest
from rich.console import Console

from export import report
from export.publish import FormatResult, Publication
from export.subject import Subject
from models.manifest import Artifact, OutputParity, ParityReport
from tests.export import checkpoints, modules


def publication(*results: FormatResult) -> Publication:
    subject = Subject("toy", modules.classifier(), checkpoints.spec().content, "0" * 64, checkpoints.ORIGIN)
    return Publication(subject, results, None)


def printed(*results: FormatResult, width: int = 125) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    report.show(publication(*results), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def compared(*outputs: OutputParity, faults: tuple[str, ...] = ()) -> FormatResult:
    parity = ParityReport("onnx", (1, 2), 512, outputs)
    return FormatResult("onnx", Artifact("onnx", "model.onnx", "0" * 64, 144_653, {}, parity), faults)


GOOD = OutputParity("probabilities", 2.4e-7, 3.8e-6, 3.6e-7, 3.6e-6, None, 23, passed=True)
BAD = OutputParity("class", 3.0, 1.0, 0.0, 0.0, 0.998, 4, passed=False)
UNMEASURED = OutputParity("scores", math.inf, math.inf, 1e-7, 1e-6, None, 0, passed=False)


def test_errors_stand_beside_what_is_allowed() -> None:
    lines = printed(compared(GOOD, BAD, faults=("class: [bold]1 of 500 values are off",))).splitlines()
    assert lines[0] == "toy: saved files against the eager model, 512 real samples in batches of 1, 2"
    assert lines[2].split() == [
        "onnx",
        "145",
        "kB",
        "probabilities",
        "2.4e-07",
        "3.8e-06",
        "3.6e-07",
        "3.6e-06",
        "–",
        "equal",
    ]
    assert lines[3].split() == ["class", "–", "–", "–", "–", "99.80%", "DIFFERS"]
    assert lines[4] == "onnx: class: [bold]1 of 500 values are off"
    assert lines[5] == "toy: nothing published"


def test_an_output_that_could_not_be_compared() -> None:
    assert printed(compared(UNMEASURED)).splitlines()[2].split()[3:] == [
        "scores",
        "inf",
        "inf",
        "1.0e-07",
        "1.0e-06",
        "–",
        "DIFFERS",
    ]


def test_a_format_that_was_not_exported_has_a_row() -> None:
    lines = printed(FormatResult("onnx", error="no such operator", exported=False)).splitlines()
    assert lines[1].split()[0] == "onnx"
    assert lines[1].endswith("not exported")


def test_a_fault_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    fault = "class: " + "very " * 60 + "long"
    assert f"onnx: {fault}" in printed(compared(BAD, faults=(fault,)), width=80).splitlines()


def test_into_a_pipe_the_table_is_not_squeezed() -> None:
    assert report.terminal().width == 125
