"""docs/models.md: every model has a row, and what can be checked in seconds is true."""

import re
from pathlib import Path

import pytest

import scoreboard
from export.exporter import FORMATS
from models import spec as specs
from scoreboard import PAGE, Row
from training.scores import Score


def rows() -> dict[str, list[str]]:
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| ["):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found[cells[0].partition("]")[0].lstrip("[")] = cells
    return found


def test_every_model_has_a_row_and_no_other_has() -> None:
    assert sorted(rows()) == specs.available()


@pytest.mark.parametrize("name", specs.available())
def test_the_row_is_of_the_model_that_there_is(name: str) -> None:
    spec, cells = specs.find(name), rows()[name]
    assert len(cells) == len(scoreboard.COLUMNS)
    datasets = spec.datasets(None)
    sizes = [len(split) for split in (datasets.train, datasets.validation, datasets.test)]  # type: ignore[arg-type]
    assert cells[2] == " / ".join(f"{size:,}" for size in sizes)
    assert cells[6] == f"{sum(weight.numel() for weight in spec.build().parameters()):,}"
    score, baseline = (float(re.search(r"\*\*([\d.,]+)\*\*", cell)[1].replace(",", "")) for cell in cells[3:5])  # type: ignore[index]
    assert (score < baseline) == cells[3].startswith("rmse")  # each is ahead of its baseline
    assert all(size == "–" or size.endswith(" kB") for size in cells[-len(FORMATS) :])
    assert cells[-len(FORMATS)] != "–"  # every model goes to production as ONNX at least


def test_a_page_is_rewritten_between_its_marks() -> None:
    score, baseline = Score(1234.5, 1200, 1300, 10, "USD"), Score(2000, 1900, 2100, 10, "USD")
    row = Row("toy", "regression", (7, 2, 1), "rmse", score, "trees", baseline, 3.2, 1000, {"onnx": 12_345})
    line = row.line()
    assert line.startswith("| [toy](../models/toy/README.md) | regression | 7 / 2 / 1 | rmse **1,234** USD (1,200 to ")
    assert "| 12 kB | – |" in line
    page = f"before\n{scoreboard.BEGIN}\nold\n{scoreboard.END}\nafter\n"
    assert scoreboard.rewritten(page, [line]) == f"before\n{scoreboard.BEGIN}\n\n{line}\n\n{scoreboard.END}\nafter\n"
    with pytest.raises(ValueError, match="expected the lines"):
        scoreboard.rewritten("before", [line])
    assert Path(scoreboard.PAGE).name == "models.md"
