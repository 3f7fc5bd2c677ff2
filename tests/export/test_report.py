import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from export import report
from export.attempt import FormatResult
from export.publish import Publication
from export.subject import Subject
from models.manifest import Artifact, EdgeParity, OutputParity, ParityReport
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


GOOD = OutputParity(
    "probabilities",
    max_absolute=2.4e-7,
    max_relative=3.8e-6,
    noise_floor=3.6e-7,
    tolerance=3.6e-6,
    equal_decisions=None,
    worst_sample=23,
    passed=True,
    max_ulp=46.3,
    min_cosine=1 - 2.5e-13,
    floor_float64=3.6e-7,
    floor_alone=1.2e-7,
    floor_ulp=2.4e-7,
)
BAD = OutputParity("class", 3.0, 1.0, 0.0, 0.0, 0.998, 4, passed=False)
UNMEASURED = OutputParity("scores", math.inf, math.inf, 1e-7, 1e-6, None, 0, passed=False)
RANDOM = OutputParity("noise", 0.0, 0.0, 0.0, 0.0, None, 0, passed=True, random=True)


def test_errors_stand_beside_what_is_allowed() -> None:
    lines = printed(compared(GOOD, BAD, faults=("class: [bold]1 of 500 values are off",))).splitlines()
    assert lines[0] == "toy: saved files against the eager model, 512 real samples in batches of 1, 2"
    assert lines[2].split() == [
        "onnx", "145", "kB", "probabilities", "2.4e-7", "3.8e-6", "46", "2.5e-13", "3.6e-7", "1.2e-7", "2.4e-7", "3.6e-6",
        "equal",
    ]  # fmt: skip
    assert lines[3].split() == ["class", *"–" * 8, "99.80%", "DIFFERS"]
    assert lines[4].startswith("allowed: 10 × the largest of what the eager model differs from itself: in float64, ")
    assert lines[5] == "onnx: class: [bold]1 of 500 values are off"
    assert lines[6] == "toy: nothing published"


def test_an_output_that_could_not_be_compared() -> None:
    cells = printed(compared(UNMEASURED)).splitlines()[2].split()[3:]
    assert cells == ["scores", "inf", "inf", *"–" * 5, "1.0e-6", "DIFFERS"]


def test_a_random_output_has_no_numbers() -> None:
    lines = printed(compared(RANDOM)).splitlines()
    assert lines[2].split()[3:] == ["noise", *"–" * 8, "random"]
    assert "allowed" not in lines[3]


def test_a_stated_tolerance_is_said_to_be_one() -> None:
    lines = printed(compared(replace(GOOD, atol=1e-5, rtol=0.001, tolerance=1e-3))).splitlines()
    assert lines[3] == "allowed: as stated, 1e-05 + 0.001 × the expected value"


def test_the_widest_table_fits_a_terminal_of_125_columns() -> None:
    wide = replace(GOOD, max_ulp=99_999, min_cosine=1 - 2.5e-13, tolerance=1.2e-12, max_relative=1.2e-12, max_absolute=1e-12)
    parity = ParityReport("exported_program", (1, 2), 512, (wide, BAD))
    artifact = Artifact("exported_program", "model.pt2", "0" * 64, 1_234_567_890, {}, parity)
    lines = printed(FormatResult("exported_program", artifact)).splitlines()
    assert lines[2].split()[-1] == "equal"
    assert max(map(len, lines[1:4])) <= 125
    assert "…" not in "".join(lines[1:4])


def test_what_enters_the_last_step_stands_below_its_output() -> None:
    inside = replace(GOOD, output="probabilities before softmax", max_absolute=2.9e-6)
    report = ParityReport("onnx", (1,), 8, (GOOD, BAD), before_last=(inside,))
    lines = printed(FormatResult("onnx", Artifact("onnx", "model", "0" * 64, 1000, {}, report))).splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["before", "class"]
    assert lines[3].split()[1:3] == ["softmax", "2.9e-6"]


def test_edges_are_told_by_what_became_of_them() -> None:
    edges = (
        EdgeParity("x", "zeros", 3, 3, passed=True, remark=""),
        EdgeParity("x", "extremes", 3, 0, passed=True, remark=""),
        EdgeParity("x", "NaN", 3, 3, passed=False, remark=""),
        EdgeParity("x", "large", 3, 2, passed=True, remark=""),
        EdgeParity("kind", "largest", 0, 0, passed=True, remark="skipped: the eager model fails"),
    )
    reports = [ParityReport(format, (1,), 8, (GOOD,), edges=edges) for format in ("onnx", "torchscript")]
    results = [FormatResult(one.format, Artifact(one.format, "model", "0" * 64, 1000, {}, one)) for one in reports]
    assert not results[0].passed
    assert [line for line in printed(*results).splitlines() if line.startswith("edges")] == [
        "edges of x: zeros, large: answered alike",
        "edges of x: extremes: not judged, as overflow or rounding decides",
        "edges of x: NaN: ANSWERED OTHERWISE",
        "edges of kind: largest: skipped: the eager model fails",
    ]


def test_a_note_is_told_once_where_it_is_true_of_all_formats() -> None:
    one = ParityReport("onnx", (0,), 8, (RANDOM,), ("noise: random", "noise: the same twice"))
    other = ParityReport("torchscript", (0,), 8, (RANDOM,), ("noise: random",))
    results = [
        FormatResult(report.format, Artifact(report.format, "model", "0" * 64, 1000, {}, report)) for report in (one, other)
    ]
    console = Console(file=io.StringIO(), width=125, highlight=False)
    report.show(replace(publication(*results), notes=("max_batch_size 0: requests run alone",)), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "toy: saved files against the eager model, 8 real samples as single requests"
    assert [line for line in lines if line.startswith("note: ")] == [
        "note: max_batch_size 0: requests run alone", "note: noise: random", "note: onnx: noise: the same twice",
    ]  # fmt: skip


def test_a_format_that_was_not_exported_has_a_row() -> None:
    lines = printed(FormatResult("onnx", error="no such operator", exported=False)).splitlines()
    assert lines[1].split()[0] == "onnx"
    assert lines[1].endswith("not exported")


def test_a_fault_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    fault = "class: " + "very " * 60 + "long"
    assert f"onnx: {fault}" in printed(compared(BAD, faults=(fault,)), width=80).splitlines()


def test_into_a_pipe_the_table_is_not_squeezed() -> None:
    assert report.terminal().width == 125
