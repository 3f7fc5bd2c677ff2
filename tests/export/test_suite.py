"""A short form of `make export-suite`: the refusals word for word, and faults planted in a few modules."""

import re

import pytest

from export import tolerance
from export.exporter import FORMATS
from tests.export import modules
from tests.export.suite import judge
from tests.export.suite.case import PASSES, Case
from tests.export.suite.cases import CASES

BY_NAME = {case.name: case for case in CASES}

#: Those in which something is wrong, and some that are right; each takes a second or two.
SHORT = [
    "decided",
    "long_or_short",
    "found",
    "written",
    "counted",
    "together",
    "forgetful",
    "stubborn",
    "broken",
    "separable",
]


def test_there_are_enough_and_none_is_there_twice() -> None:
    assert len(BY_NAME) == len(CASES) >= 25
    assert {"conv", "attention", "gru", "bag"} <= {word for word in ("conv", "attention", "gru", "bag") if _described(word)}


def _described(word: str) -> bool:
    return any(word in f"{case.name} {case.build.__doc__}".lower() for case in CASES)


@pytest.mark.parametrize("case", [BY_NAME[name] for name in SHORT], ids=lambda case: case.name)
def test_every_format_has_the_verdict_that_is_expected(case: Case) -> None:
    for format, said in judge.verdicts(case, list(FORMATS)).items():
        expected = case.expected(format)
        assert said == PASSES if expected == PASSES else re.search(expected, said), f"{format}: {said or 'passes'}"


@pytest.mark.parametrize("name", ["two_of_each", pytest.param("pooled_embedding", marks=pytest.mark.long)])
def test_every_fault_is_noticed(name: str) -> None:
    found = list(judge.faults(BY_NAME[name], modules.EQUAL))
    assert {finding.kind for finding in found} >= {
        "one weight +1 %",
        "transposed output",
        "float16 cast",
        "baked batch axis",
    }
    assert [finding for finding in found if finding.missed] == []
    assert sum(not finding.equivalent for finding in found) > len(found) / 2


def test_a_fault_that_is_not_noticed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # With a tolerance that allows anything, of which the suite's own measure of a fault knows nothing.
    monkeypatch.setattr(tolerance, "ALLOWED_FLOORS", 1e9)
    monkeypatch.setattr(judge, "COUNTS", 20 * tolerance.ALLOWED_FLOORS / 10 / 1e8)
    found = list(judge.faults(BY_NAME["perceptron"], ["torchscript"]))
    assert any(finding.missed for finding in found if finding.kind == "one weight +1 %")
