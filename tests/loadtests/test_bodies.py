"""What the load test believes an answer to be: each field that could be wrong, made wrong."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtests import samples_file, wire
from loadtests.bodies import Sample, WrongAnswer, distinct, golden_samples
from loadtests.wire import WireError
from models.repository import RepositoryError
from tests import toys

Json = dict[str, Any]  # Any: an answer under construction


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("bodies")
    toys.publish(root)
    return golden_samples(root, "toy", 1)


def v2_answer(sample: Sample) -> Json:
    """Return the right answer to a sample, in V2's terms."""
    datatypes = {"probabilities": "FP32", "class": "INT64"}
    outputs = [
        {"name": name, "datatype": datatypes[name], "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in sample.outputs.items()
    ]
    return {"model_name": "toy", "model_version": "1", "outputs": outputs}


def predict_answer(sample: Sample) -> Json:
    """Return the right answer to a sample, as people read it."""
    scores = dict(zip(toys.LABELS, sample.outputs["probabilities"][0].tolist(), strict=True))
    label = toys.LABELS[int(sample.outputs["class"][0])]
    version = {"model": "toy", "version": "1", "digest": f"sha256:{sample.case.digest}"}
    return {"label": label, "score": scores[label], "labels": scores, **version}


def test_every_golden_row_is_a_sample_and_no_two_are_the_same(samples: list[Sample]) -> None:
    assert len(samples) == 8
    assert len({sample.v2_json for sample in samples}) == len({sample.file for sample in samples}) == 8


def test_right_answers_pass(samples: list[Sample]) -> None:
    for sample in samples:
        sample.check_v2(json.loads(json.dumps(v2_answer(sample))))
        sample.check_predict(json.loads(json.dumps(predict_answer(sample))))
        sample.check_headers(f"toy/1 sha256:{sample.case.digest}")
        sample.check_headers(None)


def spoil(field: str, value: object) -> Callable[[Json], None]:
    return lambda answer: answer.__setitem__(field, value)


V2_LIES: dict[str, Callable[[Json], None]] = {
    "another model": spoil("model_name", "other"),
    "another version": spoil("model_version", "77"),
    "no outputs": spoil("outputs", []),
    "an output missing": lambda answer: answer["outputs"].pop(),
    "another datatype": lambda answer: answer["outputs"][0].__setitem__("datatype", "FP16"),
    "another probability": lambda answer: answer["outputs"][0]["data"].__setitem__(0, 0.123),
    "another class": lambda answer: answer["outputs"][1].__setitem__("data", [7]),
    "another shape": lambda answer: answer["outputs"][0].__setitem__("shape", [3, 1]),
    "null": lambda answer: answer["outputs"][0]["data"].__setitem__(0, None),
}
PREDICT_LIES: dict[str, Callable[[Json], None]] = {
    "another label": spoil("label", "dog"),
    "another score": spoil("score", 0.0001),
    "another model": spoil("model", "other"),
    "another version": spoil("version", "77"),
    "another digest": spoil("digest", "sha256:" + "0" * 64),
    "another weight of a label": lambda answer: answer["labels"].__setitem__("ant", 0.5),
}


@pytest.mark.parametrize("lie", V2_LIES)
def test_a_v2_answer_that_lies_is_wrong(samples: list[Sample], lie: str) -> None:
    answer = copy.deepcopy(v2_answer(samples[0]))
    V2_LIES[lie](answer)
    with pytest.raises((WrongAnswer, WireError)):
        samples[0].check_v2(answer)


@pytest.mark.parametrize("lie", PREDICT_LIES)
def test_a_predict_answer_that_lies_is_wrong(samples: list[Sample], lie: str) -> None:
    answer = copy.deepcopy(predict_answer(samples[0]))
    PREDICT_LIES[lie](answer)
    with pytest.raises(WrongAnswer):
        samples[0].check_predict(answer)


def test_another_samples_answer_is_wrong(samples: list[Sample]) -> None:
    with pytest.raises(WrongAnswer):
        samples[0].check_v2(v2_answer(samples[1]))
    with pytest.raises(WrongAnswer):
        samples[0].check_headers("toy/2 sha256:0")


def test_a_version_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError):
        golden_samples(tmp_path, "toy", 1)


def test_right_bytes_are_remembered_and_wrong_ones_are_not(samples: list[Sample]) -> None:
    right, wrong = (json.dumps(v2_answer(sample)).encode() for sample in samples[2:4])
    samples[2].check("json", right)
    assert ("json", right) in samples[2].right
    with pytest.raises(WrongAnswer):
        samples[2].check("json", wrong)
    with pytest.raises(WrongAnswer):
        samples[2].check("content", right)  # what is right as one payload is not as another
    assert samples[2].right == {("json", right)}


def test_an_answer_in_binary_is_checked_as_well(samples: list[Sample]) -> None:
    case = samples[0].case
    raw = [wire.to_bytes(spec, samples[0].outputs[spec.name]) for spec in case.outputs]
    outputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": list(samples[0].outputs[spec.name].shape),
            "parameters": {"binary_data_size": len(data)},
        }
        for spec, data in zip(case.outputs, raw, strict=True)
    ]
    head = json.dumps({"model_name": "toy", "model_version": "1", "outputs": outputs}).encode()
    samples[0].check("binary", head + b"".join(raw), str(len(head)))
    with pytest.raises(WrongAnswer):
        samples[1].check("binary", head + b"".join(raw), str(len(head)))


def test_samples_are_read_as_they_were_written(samples: list[Sample], tmp_path: Path) -> None:
    samples_file.save(tmp_path / "samples.npz", {"toy": samples})
    found = samples_file.load(tmp_path / "samples.npz")["toy"]
    assert [sample.case for sample in found] == [sample.case for sample in samples]
    for mine, theirs in zip(found, samples, strict=True):
        assert (mine.v2_json, mine.v2_binary, mine.binary_head, mine.file) == (
            theirs.v2_json,
            theirs.v2_binary,
            theirs.binary_head,
            theirs.file,
        )
        mine.check_v2(v2_answer(theirs))


def test_equal_answers_are_counted_once(samples: list[Sample]) -> None:
    assert distinct(samples) == 8
    assert distinct([*samples, *samples]) == 8
