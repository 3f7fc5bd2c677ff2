import json
from pathlib import Path

import pytest

from models.spec import ModelSpec
from tests.training import kinds, toys
from tests.training.test_findings import evaluated
from training import report_json


@pytest.mark.parametrize(
    "spec", [toys.spec(), kinds.regression(), kinds.novelty(), kinds.language()], ids=lambda spec: spec.name
)
def test_it_tells_every_score_with_its_interval(spec: ModelSpec, tmp_path: Path) -> None:
    found = evaluated(spec, tmp_path, spec.build())
    facts = json.loads(report_json.to_bytes(found))
    assert (facts["model"], facts["task"], facts["data"]) == (spec.name, type(spec.task).__name__.lower(), found.data)
    assert facts["samples"] == len(found.targets)
    (subject,) = facts["subjects"]
    for name, score in found.findings[0].scores.items():
        told = subject["scores"][name]
        assert (told["value"], told["low"], told["high"]) == (score.value, score.low, score.high)
    assert facts["comparison"] is None
    assert facts["environment"]["libraries"]["torch"]


def test_it_tells_classes_confusion_and_calibration(tmp_path: Path) -> None:
    found = evaluated(kinds.language(), tmp_path, kinds.Letters())
    facts = json.loads(report_json.to_bytes(found))
    (subject,) = facts["subjects"]
    assert [one["label"] for one in subject["classes"]] == list(kinds.LABELS) == facts["labels"]
    assert sum(map(sum, subject["confusion"])) == 40
    assert sum(one["samples"] for one in subject["calibration"]["bins"]) == 40
    worst = subject["mistakes"][0]["worst"][0]
    assert worst["input"] == found.findings[0].shown[worst["sample"]].text


def test_it_tells_a_comparison(tmp_path: Path) -> None:
    found = evaluated(kinds.regression(), tmp_path, kinds.Price(80.0), kinds.Price())
    facts = json.loads(report_json.to_bytes(found))
    assert len(facts["subjects"]) == 2
    assert facts["comparison"]["better"] == 1
    assert facts["comparison"]["high"] < 0
