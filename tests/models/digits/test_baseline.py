"""The baselines of digits: what they reach on the split that the network is tested on."""

from pathlib import Path

import numpy as np
import pytest

from models.digits import SPEC, baseline
from models.digits.data import Digits
from models.tensors import Array
from tests.export import checkpoints
from training import checkpoint
from training.scores import scores


def test_the_standard_one_is_good_and_not_as_good_as_the_network() -> None:
    name, answers = baseline.standard()
    test = SPEC.datasets(None).test
    assert isinstance(test, Digits)
    found = scores(SPEC.task, answers, test.labels.numpy())["accuracy"]
    assert name == "support vector machine"
    assert 0.94 < found.value < 0.98  # the card: 96.1 %; the network has 99.5 %


def test_the_program_compares_a_checkpoint_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baseline, "classifiers", lambda: {"always zero": Zero()})
    path = checkpoint.save(SPEC.build(), checkpoints.ORIGIN, tmp_path / "digits" / "one").path
    assert baseline.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| network | ")
    assert lines[2].endswith(" | 0 | 0 | 1 |")
    assert lines[3].startswith("| always zero | 10.00% (")
    assert baseline.main([str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.startswith("baseline: ")


class Zero:
    """A classifier that has learnt nothing."""

    def fit(self, vectors: object, labels: object) -> None:
        """Learn nothing."""

    def predict(self, vectors: Array) -> Array:
        return np.zeros(len(vectors), np.int64)
