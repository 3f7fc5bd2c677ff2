"""Comparing two versions: every difference is found, none is made up, and exit codes say what was asked for."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import cli
from models import spec as specs
from models.manifest import Manifest
from models.repository import MANIFEST, ModelVersion, Repository
from models.spec import DataError, Datasets, ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Array
from tests import toys
from tests.serving import graphs
from tests.test_cli import without


class Labelled(Dataset[tuple[dict[str, torch.Tensor], torch.Tensor]]):
    """Images with the classes that the toy of a seed gives them."""

    def __init__(self, pixels: Array, seed: int) -> None:
        self._pixels, self._classes = pixels, toys.reference(pixels, seed)["class"]

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return {"image": torch.from_numpy(self._pixels[index])}, torch.tensor(self._classes[index])


def spec(truth: int, *, pixels: Array | None = None, missing: bool = False) -> ModelSpec:
    """Return the toy as a model folder would offer it; the toy of seed `truth` is always right."""
    split = Labelled(toys.images(100) if pixels is None else pixels, truth)

    def datasets(folder: Path | None) -> Datasets:
        if missing:
            raise DataError(f"{folder}: no images there")
        return Datasets(split, split, split, "d" * 64)

    def never(*_: object) -> Any:
        raise AssertionError("a comparison builds no network and draws no samples")

    return ModelSpec(
        "toy",
        toys.signature(),
        toys.content(),
        Classification(3, "probabilities"),
        Recipe(1, 1, 0.1, 0.0),
        never,
        datasets,
        never,
        never,
    )


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[ModelSpec]:
    """What the tree offers as the model `toy`; nothing at first."""
    found: list[ModelSpec] = []
    monkeypatch.setattr(specs, "available", lambda: ["toy"] if found else [])
    monkeypatch.setattr(specs, "find", lambda name: found[0])
    return found


@pytest.fixture
def versions(tmp_path: Path) -> list[str]:
    """Three versions: the third is the first again."""
    return [str(toys.publish(tmp_path / "models", seed=seed).path) for seed in (0, 1, 0)]


def diff(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert cli.main(["diff", *words]) == code, capsys.readouterr().err
    return capsys.readouterr().out


def test_decisions_on_the_held_out_split_and_who_is_right(
    versions: list[str], offered: list[ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    offered.append(spec(truth=0))
    found = json.loads(diff(capsys, versions[0], versions[1], "--json"))
    classes = [toys.reference(toys.images(100), seed)["class"] for seed in (0, 1)]
    changed = int(np.count_nonzero(classes[0] != classes[1]))
    assert 20 < changed < 100
    asked = found["answers"]
    assert asked["source"] == "100 samples of the test split"
    outputs = {output["output"]: output for output in asked["outputs"]}
    assert (outputs["class"]["changed"], outputs["class"]["rows"], outputs["class"]["decision"]) == (changed, 100, True)
    assert outputs["probabilities"]["changed"] == 100
    right = asked["rightness"]
    assert (right["first"], right["second"], right["only_first"], right["only_second"]) == (100, 100 - changed, changed, 0)
    assert right["p_value"] == pytest.approx(2 / 2**changed)
    assert "the second is worse" in diff(capsys, versions[0], versions[1])
    assert "the second is better" in diff(capsys, versions[1], versions[0])


def test_the_same_model_published_again_is_the_same(
    versions: list[str], offered: list[ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    offered.append(spec(truth=1))
    out = diff(capsys, versions[0], versions[2], "--fail-on", "changed")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "signature the same" in lines
    assert "origin the same" in lines
    assert "probabilities: 0 of 100 (0.00%) changed by more than both tolerances, at most by 0" in lines
    assert "class: 0 of 100 (0.00%) changed" in lines
    assert lines[-2].endswith("p = 1: no difference that chance would not explain")


@pytest.mark.parametrize(
    ("pair", "fail_on", "code"),
    [
        ((0, 1), "nothing", 0),
        ((0, 1), "changed", 1),
        ((0, 1), "worse", 1),
        ((1, 0), "worse", 0),
        ((0, 2), "worse", 0),
    ],
)
def test_exit_codes(
    versions: list[str],
    offered: list[ModelSpec],
    capsys: pytest.CaptureFixture[str],
    pair: Sequence[int],
    fail_on: str,
    code: int,
) -> None:
    offered.append(spec(truth=0))
    diff(capsys, versions[pair[0]], versions[pair[1]], "--fail-on", fail_on, code=code)


def test_without_the_models_folder_golden_samples_are_compared(
    versions: list[str], offered: list[ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    out = diff(capsys, versions[0], versions[1])
    assert "onnx, on the golden samples of both, 16 rows" in out
    assert "of 16 (" in out
    assert "held-out split: not used: there is no folder models/toy with its data in this tree" in out
    assert "McNemar" not in out
    assert cli.main(["diff", versions[0], versions[1], "--fail-on", "worse"]) == 2
    assert "--fail-on worse: cannot be told here" in capsys.readouterr().err


def test_data_that_are_missing_or_do_not_fit_are_said_to_be(
    versions: list[str], offered: list[ModelSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    offered.append(spec(truth=0, missing=True))
    assert "not used: nowhere: no images there" in diff(capsys, versions[0], versions[1], "--data-dir", "nowhere")
    offered[0] = replace(spec(truth=0), datasets=lambda folder: _floating())
    assert "its data do not fit the versions: image: expected datatype UINT8" in diff(capsys, versions[0], versions[1])


def _floating() -> Datasets:
    class Floating(Labelled):
        def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            inputs, target = super().__getitem__(index)
            return {"image": inputs["image"].float()}, target

    split = Floating(toys.images(3), 0)
    return Datasets(split, split, split, "d" * 64)


def rewritten(version: ModelVersion, **changes: Any) -> None:
    manifest: Manifest = replace(version.manifest, **changes)
    (version.path / MANIFEST).write_bytes(manifest.to_bytes())


def test_what_manifests_say_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (toys.publish(tmp_path, max_batch_size=size) for size in (8, 4))
    origin = replace(first.manifest.origin, seed=7, scores={"accuracy": 0.75}, recipe={"epochs": 3}, commit="abc")
    rewritten(second, origin=origin)
    out = diff(capsys, str(first.path), str(second.path), "--fail-on", "changed", code=1)
    assert "signature  max_batch_size: 8 → 4" in out
    for line in ("seed: 0 → 7", "commit: – → abc", "recipe epochs: – → 3", "accuracy: – → 0.75"):
        assert line in out
    size = first.manifest.artifacts[0].size_bytes
    assert f"onnx: {size:,} → {size:,}" in out


def test_other_inputs_are_not_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy, other = toys.publish(tmp_path), graphs.publish_lookup(tmp_path)
    out = diff(capsys, str(toy.path), str(other.path))
    assert "input image: UINT8 [-1, 4, 4] → –" in out
    assert out.splitlines()[-1] == "answers: not compared, as the inputs differ"
    diff(capsys, str(toy.path), str(other.path), "--fail-on", "changed", code=1)


def test_versions_without_a_common_format_are_compared_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (toys.publish(tmp_path, formats=(format,)) for format in ("onnx", "torchscript"))
    out = diff(capsys, str(first.path), str(second.path))
    assert out.splitlines()[-1] == "answers: not compared, as no format is common to both"
    assert cli.main(["diff", str(first.path), str(second.path), "--fail-on", "changed"]) == 2


def test_a_model_without_a_batch_axis_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (graphs.publish_counting(tmp_path) for _ in range(2))
    assert "count: 0 of 2 (0.00%) changed" in diff(capsys, str(first.path), str(second.path), "--speed")


def test_speed_is_measured_where_it_is_asked_for(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(diff(capsys, versions[0], versions[1], "--speed", "--json"))
    assert set(found["call_seconds"]) == {"1", "8"}
    assert all(0 < seconds < 1 for pair in found["call_seconds"].values() for seconds in pair)
    assert "speed: not recorded in a manifest" in diff(capsys, versions[0], versions[1])


def test_an_altered_or_missing_version_is_2(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", versions[0], "nowhere/3"]) == 2
    assert "found 'nowhere/3'" in capsys.readouterr().err
    (Path(versions[1]) / "model.onnx").write_bytes(b"altered")
    assert cli.main(["diff", versions[0], versions[1]]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "toy/2: model.onnx: expected " in err


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_samples_is_at_least_1(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["diff", "a", "b", f"--samples={count}"])
    assert "expected 1 or more" in capsys.readouterr().err


def test_where_only_a_server_is_installed_golden_samples_are_compared(versions: list[str]) -> None:
    import subprocess
    import sys

    code = f"{without('torch', 'onnx', 'onnxscript', 'rich', 'scipy')}\nimport sys, cli\nsys.exit(cli.main())"
    words = [sys.executable, "-c", code, "diff", versions[0], versions[1]]
    done = subprocess.run(words, cwd=Path(cli.__file__).parent, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnx, on the golden samples of both, 16 rows" in done.stdout
    assert Repository(Path(versions[0]).parents[1]).versions("toy") == [1, 2, 3]
