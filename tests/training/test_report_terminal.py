import io
from pathlib import Path

from rich.console import Console

from tests.training import kinds
from tests.training.test_findings import evaluated
from training.findings import Evaluation
from training.report_terminal import show
from training.scores import words


def printed(found: Evaluation, *, width: int = 125) -> str:
    file = io.StringIO()
    show(found, Console(file=file, width=width, highlight=False))
    return file.getvalue()


def test_scores_are_told_as_training_tells_them(tmp_path: Path) -> None:
    found = evaluated(kinds.regression(), tmp_path, kinds.Price(90.0))
    lines = printed(found).splitlines()
    for name, score in found.findings[0].scores.items():
        assert f"gems: test {words(name, score)}" in lines
    assert any(line.startswith("  sample ") and "answered" in line for line in lines)
    assert any('"colour": "' in line for line in lines)


def test_words_of_data_do_not_steer_the_terminal(tmp_path: Path) -> None:
    text = printed(evaluated(kinds.language(), tmp_path, kinds.Letters()))
    assert "\x1b" not in text
    assert all(letter.isprintable() for line in text.splitlines() for letter in line)
    assert "<b>ant</b> taken for" in text or "cat taken for" in text


def test_a_matrix_has_every_count_even_in_a_narrow_terminal(tmp_path: Path) -> None:
    found = evaluated(kinds.language(), tmp_path, kinds.Letters())
    assert found.findings[0].confusion is not None
    wide = printed(found)
    for label, row in zip(kinds.LABELS, found.findings[0].confusion.matrix, strict=True):
        cells = [str(count) if count else "·" for count in row]
        assert any(line.split() == [label, *cells] for line in wide.splitlines())
    assert "confidence" in printed(found, width=60)


def test_the_verdict_is_the_last_line(tmp_path: Path) -> None:
    found = evaluated(kinds.novelty(), tmp_path, kinds.Spread(), kinds.Spread())
    last = printed(found).splitlines()[-1]
    assert last == found.verdict
    assert last.startswith("no difference shown at 95 % (paired bootstrap: second minus first: auroc 0.00 %, ")
