"""Outputs that chance decides: published, marked, and judged by shape, datatype and finiteness wherever they are judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from export import diff, parity, reference, verify
from export.exporter import ExportSource, Run
from export.publish import Publication, publish
from export.subject import Subject
from loadtests.bodies import WrongAnswer, golden_samples
from models.repository import Repository
from models.tensors import Array, Tensors, TensorSpec
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from tests.export import checkpoints, modules

Y, Z = TensorSpec("y", "FP32", (3,)), TensorSpec("z", "FP32", (3,))


def dropped(x: Tensor) -> tuple[Tensor, Tensor]:
    """Leave dropout on in one of two outputs."""
    return functional.dropout(x, training=True), x * 2


def half_random() -> ExportSource:
    return modules.of(dropped, Y, Z, samples=modules.numbers(40, 3))


def published(source: ExportSource, folder: Path, *formats: str) -> Publication:
    subject = Subject("toy", source, None, "c" * 64, checkpoints.ORIGIN)
    return publish(subject, Repository(folder), formats or ["torchscript"])


def compare(source: ExportSource, run: Run) -> parity.Comparison:
    return parity.compare("fake", run, reference.measure(source), sizes=parity.batch_sizes(source.signature))


def noisy(inputs: Tensors) -> dict[str, Array]:
    noise = np.random.default_rng().random(inputs["x"].shape, np.float32)
    return {"y": inputs["x"] * noise, "z": inputs["x"] * 2}


@pytest.mark.parametrize("format", modules.EQUAL)
def test_a_random_output_is_published_replayed_and_verified(format: str, tmp_path: Path) -> None:
    publication = published(half_random(), tmp_path, format)
    assert [result.faults for result in publication.results] == [()]
    version = publication.version
    assert version is not None
    (artifact,) = version.manifest.artifacts
    assert artifact.random == {"y"}
    assert list(artifact.tolerance) == ["z"]
    assert [output.random for output in artifact.parity.outputs] == [True, False]
    assert artifact.parity.notes[0].startswith("y: random: two runs of the eager model on the same inputs differ by ")
    said = {check.output: (check.passed, check.found) for check in verify.verify(version)}
    assert said == {"y": (True, "random: as finite, and of the shape"), "z": (True, "equal")}
    served = ServedVersion.open(Servable.published(version), ModelConfig(format=format), Metrics())
    assert served.close(drain_seconds=60)


def test_a_model_that_is_random_throughout_is_published(tmp_path: Path) -> None:
    def throughout(x: Tensor) -> tuple[Tensor, Tensor]:
        noisy = x + torch.randn_like(x)
        return noisy, noisy.argmax(1)

    source = modules.of(throughout, Y, TensorSpec("label", "INT64", ()), samples=modules.numbers(40, 3))
    version = published(source, tmp_path).version
    assert version is not None
    assert version.manifest.artifacts[0].random == {"y", "label"}
    assert version.manifest.golden.rows == 8


def test_what_is_not_random_beside_it_is_compared_as_ever() -> None:
    assert compare(half_random(), noisy).faults == ()
    (fault,) = compare(half_random(), lambda inputs: {**noisy(inputs), "z": inputs["x"] * np.float32(2.01)}).faults
    assert fault.startswith("z: ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda y: y[:, :2], "y: expected shape [1, 3] on a batch of 1, found [1, 2]"),
        (lambda y: y.astype(np.float64), "y: expected float32, found float64"),
        (lambda y: y * np.float32(np.nan), "y: expected finite numbers, found 120 of 120 that are NaN"),
    ],
)
def test_shape_datatype_and_finiteness_are_demanded(change: object, fault: str) -> None:
    assert callable(change)
    assert compare(half_random(), lambda inputs: {**noisy(inputs), "y": change(noisy(inputs)["y"])}).faults == (fault,)


def test_a_file_that_bakes_chance_in_is_noted_and_passes() -> None:
    comparison = compare(half_random(), lambda inputs: {"y": inputs["x"], "z": inputs["x"] * 2})
    assert comparison.faults == ()
    assert comparison.report.notes[1] == "y: the file answers the same thing twice, where the eager model does not"
    assert len(compare(half_random(), noisy).report.notes) == 1


def test_a_version_whose_random_output_is_no_number_is_not_verified_and_not_served(tmp_path: Path) -> None:
    version = published(half_random(), tmp_path).version
    assert version is not None
    folder = version.path
    with np.load(folder / "golden.npz") as arrays:
        changed = {name: arrays[name] for name in arrays}
    # Asked about NaN, the file answers NaN, where the example that was published is finite.
    changed["input:x"] = np.full_like(changed["input:x"], np.nan)
    np.savez(folder / "golden.npz", allow_pickle=False, **changed)
    first, _ = verify.verify(version)
    assert (first.output, first.passed) == ("y", False)
    assert first.found.startswith("expected finite numbers, found ")
    published_version = replace(Servable.published(version), content=None)
    with pytest.raises(Exception, match="golden sample, 1 rows: random output 'y': expected finite numbers, found"):
        ServedVersion.open(published_version, ModelConfig(), Metrics())


def test_a_diff_leaves_it_out_and_says_so(tmp_path: Path) -> None:
    first, second = (published(half_random(), tmp_path).version for _ in range(2))
    assert first is not None
    assert second is not None
    found = diff.compare(first, second)
    assert found.answers is not None
    assert [(change.output, change.changed) for change in found.answers.outputs] == [("z", 0)]
    assert "y: not compared, as it is another each time: a random output" in found.remarks
    assert diff.exit_code(found, "changed") == 0


def test_a_load_test_expects_no_value_of_it(tmp_path: Path) -> None:
    assert published(half_random(), tmp_path).version is not None
    sample = golden_samples(tmp_path, "toy", 1)[0]
    body = {"model_name": "toy", "model_version": "1", "outputs": [
        {"name": name, "datatype": "FP32", "shape": [1, 3], "data": data}
        for name, data in (("y", [7.0, 7.0, 7.0]), ("z", sample.outputs["z"].ravel().tolist()))
    ]}  # fmt: skip
    sample.check_v2(body)
    body["outputs"][0]["data"] = [7.0, float("nan"), 7.0]  # type: ignore[index]  # a JSON object, known here
    with pytest.raises(WrongAnswer, match="random output 'y': expected finite numbers, found 1 of 3"):
        sample.check_v2(body)
