from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.spec import DataError, Datasets, ModelSpec
from tests.training import kinds, toys
from training.evaluate import evaluate, predict_with
from training.findings import Evaluation, evaluate_all, labels_of
from training.loaders import scoring_loader
from training.opened import SubjectError, of_checkpoint


def evaluated(spec: ModelSpec, folder: Path, *networks: torch.nn.Module, data: str = kinds.CHECKSUM) -> Evaluation:
    """Save the networks as checkpoints and evaluate them."""
    saved = [kinds.save(spec, folder / str(number), network, data=data) for number, network in enumerate(networks)]
    return evaluate_all(spec, [of_checkpoint(spec, one.path) for one in saved], None)


@pytest.mark.parametrize(
    "spec", [toys.spec(), kinds.regression(), kinds.novelty(), kinds.language()], ids=lambda spec: spec.name
)
def test_its_scores_begin_with_those_of_training(spec: ModelSpec, tmp_path: Path) -> None:
    network = spec.build().eval()
    (found,) = evaluated(spec, tmp_path, network).findings
    trained = evaluate(predict_with(spec, network), scoring_loader(spec.datasets(None).test), spec.task)
    assert dict(list(found.scores.items())[: len(trained)]) == trained
    assert all(np.isfinite((score.value, score.low, score.high)).all() for score in found.scores.values())


def test_a_classifier_has_classes_calibration_and_mistakes_by_name(tmp_path: Path) -> None:
    found = evaluated(kinds.language(), tmp_path, kinds.Letters())
    assert found.labels == kinds.LABELS
    (one,) = found.findings
    assert list(one.scores) == ["accuracy", "macro_f1", "brier", "ece"]
    assert one.confusion is not None
    assert one.confusion.matrix.sum() == 40
    wrong = int(np.count_nonzero(one.answers.argmax(1) != found.targets))
    assert one.mistakes[0].count == wrong > 0
    for mistake in one.mistakes[0].worst:
        assert mistake.truth == kinds.LABELS[found.targets[mistake.sample]]
        assert one.shown[mistake.sample].text[:20] == kinds.TEXTS[mistake.sample % 4][:20]


def test_numbers_and_novelty_have_mistakes_but_no_classes(tmp_path: Path) -> None:
    (price,) = evaluated(kinds.regression(), tmp_path / "price", kinds.Price(90.0)).findings
    assert (list(price.scores), price.confusion, price.calibration) == (["rmse", "mae", "r2"], None, None)
    assert '"carat": ' in price.shown[price.mistakes[0].worst[0].sample].text
    (spread,) = evaluated(kinds.novelty(), tmp_path / "spread", kinds.Spread()).findings
    assert list(spread.scores) == ["auroc"]
    assert 0.5 < spread.scores["auroc"].value < 1
    familiar, foreign = spread.mistakes
    assert familiar.count
    assert foreign.count
    assert spread.shown[foreign.worst[0].sample].picture is not None


def test_two_are_compared(tmp_path: Path) -> None:
    found = evaluated(kinds.regression(), tmp_path, kinds.Price(80.0), kinds.Price(100.0))
    assert found.comparison is not None
    assert found.comparison.better == 1
    assert found.verdict is not None
    assert found.verdict.startswith(f"{tmp_path / '1'} is better (paired bootstrap: ")
    assert evaluated(kinds.regression(), tmp_path / "one", kinds.Price()).verdict is None


def test_other_data_and_other_scores_than_in_training_are_noted(tmp_path: Path) -> None:
    (note,) = evaluated(kinds.regression(), tmp_path, kinds.Price(), data="8" * 64).notes
    assert note.startswith(f"{tmp_path / '0'}: trained on other data (sha256 888888888888…, here 777777777777…)")
    spec = kinds.regression()
    subject = of_checkpoint(spec, tmp_path / "0")
    boastful = replace(subject, origin=replace(subject.origin, data=kinds.CHECKSUM, scores={"rmse": 0.5, "r2": 2.0}))
    rmse, r2 = evaluate_all(spec, [boastful], None).notes
    assert "rmse was 0.5000 when it was trained, and is " in rmse
    assert "r2 was 2.0000" in r2


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SubjectError, match="price: expected finite numbers, found others for 60 of 60 samples, the first of them 0"
    ):
        evaluated(kinds.regression(), tmp_path, kinds.Price(float("nan")))


def test_a_split_that_lacks_what_the_score_needs_is_one_line(tmp_path: Path) -> None:
    def familiar(folder: Path | None) -> Datasets:
        given = kinds.images()
        split = kinds.Items([given.test[row][0] for row in range(30)], torch.zeros(30, dtype=torch.int64))
        return replace(given, test=split)

    with pytest.raises(SubjectError, match="novelty: targets: expected familiar and foreign samples, found 30 and 0"):
        evaluated(replace(kinds.novelty(), datasets=familiar), tmp_path, kinds.Spread())


def test_an_empty_split_and_one_with_a_bad_target_are_told(tmp_path: Path) -> None:
    def split_of(targets: list[float]) -> ModelSpec:
        rows = [{"numbers": torch.ones(1), "kinds": torch.zeros(1, dtype=torch.int64)} for _ in targets]
        split = kinds.Items(rows, torch.tensor(targets))
        return replace(kinds.regression(), datasets=lambda folder: Datasets(split, split, split, kinds.CHECKSUM))

    with pytest.raises(DataError, match="test split: expected samples, found none"):
        evaluated(split_of([]), tmp_path / "empty", kinds.Price())
    with pytest.raises(DataError, match="test split, sample 1: target: expected finite numbers, found nan"):
        evaluated(split_of([1.0, float("nan")]), tmp_path / "bad", kinds.Price())


def test_classes_without_names_are_called_by_number() -> None:
    spec = kinds.language()
    unnamed = replace(spec, content=replace(spec.content, output=kinds.regression().content.output))
    assert labels_of(unnamed) == ("0", "1", "2")
    assert labels_of(kinds.novelty()) == ()
