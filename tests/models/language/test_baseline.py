from pathlib import Path

import numpy as np
import pytest
import torch

from models.language import SPEC, baseline, data, words
from models.spec import Datasets
from tests.models.language.test_texts import LIST
from training import checkpoint
from training.origin import origin_of


def few(split: object, count: int) -> data.Texts:
    given = data.texts_of(split)
    return data.Texts(given.letters[:count].numpy(), given.languages[:count].numpy())


@pytest.fixture(scope="module")
def small() -> Datasets:
    splits = data.datasets()
    return Datasets(few(splits.train, 8000), few(splits.validation, 320), few(splits.test, 640), splits.checksum)


def texts(*given: bytes) -> data.Texts:
    rows = np.array([np.frombuffer(text.ljust(12, b"\0"), np.uint8) for text in given])
    return data.Texts(rows, np.arange(len(given)))


def test_naive_bayes_is_the_one_that_validation_chooses(small: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same once more with each smoothing alone: none is better on the validation split."""
    splits = [data.texts_of(split) for split in (small.train, small.validation, small.test)]
    monkeypatch.setattr(baseline, "ANALYZERS", ("char_wb",))
    monkeypatch.setattr(baseline, "SMOOTHINGS", (1.0, 0.03))
    name, decisions = baseline.naive_bayes(*splits)
    assert (decisions == splits[2].languages.numpy()).mean() > 0.7
    accuracies = {}
    for smoothing in (1.0, 0.03):
        monkeypatch.setattr(baseline, "SMOOTHINGS", (smoothing,))
        # What is asked about is the validation split, so that the decisions tell how good it is there.
        alone, found = baseline.naive_bayes(splits[0], splits[1], splits[1])
        accuracies[alone] = (found == splits[1].languages.numpy()).mean()
        assert alone.endswith(f"{accuracies[alone]:.2%} on validation")
    assert name == max(accuracies, key=lambda one: accuracies[one])


def test_who_knows_the_lists_adds_up_what_words_say() -> None:
    other = (words.Word(b"of", 300_000), words.Word(b"w1", 600_000))
    lists = {"xx": LIST, "yy": other}
    # "of" is 2/9 of one list and 3/9 of the other; "the" is in the first alone.
    assert baseline.by_heart(lists, texts(b"of", b"the", b"of w2", b"w1 w1", b"the w1")).tolist() == [1, 0, 0, 1, 0]


def test_a_lead_is_the_difference_on_the_same_draws() -> None:
    first, second = np.arange(400) % 10 < 9, np.arange(400) % 10 < 7
    found = baseline.lead(first, second, resamples=500)
    assert found.value == pytest.approx(0.2)
    # Where one is wrong the other is too: the interval is that of a share of 0.2, far narrower than of two shares.
    assert (found.low, found.high) == pytest.approx((0.16, 0.24), abs=0.01)
    nothing = baseline.lead(first, first, resamples=50)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_table_counts_each_band() -> None:
    counts = np.array([1, 1, 2, 3, 4, 8, 9, 12])
    right = {"one": np.array([1, 0, 1, 1, 1, 1, 1, 1], np.bool_), "other": np.zeros(8, np.bool_)}
    head, _, one, other, ahead = baseline.table(right, counts, resamples=10)
    assert head == "| words | 1 | 2 | 3 to 4 | 5 to 8 | 9 to 12 | all |"
    assert [cell.split()[0] for cell in one.split("|")[2:-1]] == ["50.0%", *["100.0%"] * 4, "87.5%"]
    assert [cell.split()[0] for cell in other.split("|")[2:-1]] == ["0.0%"] * 6
    assert [cell.split()[0] for cell in ahead.split("|")[2:-1]] == ["+50.0", *["+100.0"] * 4, "+87.5"]


def test_confusions_name_the_pair_that_is_commonest() -> None:
    languages = np.repeat(np.arange(16), 10)
    decisions = languages.copy()
    decisions[10:14] = data.LANGUAGES.index("nb")
    shares, pairs = baseline.confusions(decisions, languages, most=1)
    assert "cs 100.0%, da 60.0%" in shares
    assert pairs == "taken for another: da for nb 40.0%"


def test_the_program_tells_of_a_checkpoint(
    small: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = SPEC.build()
    saved = checkpoint.save(network, origin_of(SPEC.name, SPEC.recipe, seed=0, data="d" * 64, scores={}), tmp_path / "one")
    monkeypatch.setattr(data, "datasets", lambda: small)
    monkeypatch.setattr(baseline, "ANALYZERS", ("char_wb",))
    monkeypatch.setattr(baseline, "SMOOTHINGS", (0.03,))
    assert baseline.main([str(saved.path), "--resamples", "10"]) == 0
    rows = {line.split("|")[1].strip(): line.split("|")[-2].split()[0] for line in capsys.readouterr().out.splitlines()[:6]}
    assert float(rows["network"].rstrip("%")) < 15  # it has learnt nothing
    assert float(rows["lists by heart"].rstrip("%")) > 90
    assert float(rows["lead, in points"]) == pytest.approx(
        float(rows["network"].rstrip("%")) - float(rows["naive Bayes"].rstrip("%")), abs=0.11
    )


def test_without_a_checkpoint_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"baseline: {tmp_path}/checkpoint.json: not a checkpoint")
    assert shown.err.count("\n") == 1


def test_no_draws_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main(["--resamples", "0"]) == 2
    assert capsys.readouterr().err == "baseline: resamples: expected 1 or more, found 0\n"
