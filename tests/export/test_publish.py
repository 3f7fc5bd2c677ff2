"""From a checkpoint to a version: all formats or nothing, and nothing half-published whatever fails."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import cli
from export.exporter import FORMATS, ExportError, ExportSource, Options, exporter_of
from export.onnx import OnnxExporter
from export.publish import publish
from export.subject import SAMPLES, of_checkpoint
from export.torchscript import TorchScriptExporter
from models import spec as specs
from models.repository import Repository, RepositoryError
from models.tensors import Tensors
from tests.export import checkpoints, modules
from training import checkpoint
from training.checkpoint import CheckpointError


def leftovers(repository: Repository) -> list[Path]:
    """Return every file and every folder within a model's folder."""
    return sorted(repository.root.glob("*/*"))


def test_every_format_is_published_with_its_proof(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    steps: list[str] = []
    publication = publish(of_checkpoint(checkpoints.spec(), saved), repository, modules.EQUAL, tell=steps.append)
    version = publication.version
    assert version is not None
    manifest = version.manifest
    assert (manifest.model, manifest.version, manifest.checkpoint) == ("toy", 1, saved.sha256)
    assert manifest.origin == checkpoints.ORIGIN
    assert manifest.content == checkpoints.spec().content
    assert [artifact.format for artifact in manifest.artifacts] == modules.EQUAL
    for artifact in manifest.artifacts:
        assert artifact.parity.passed
        assert artifact.parity.samples == 50
        assert artifact.tolerance["class"] == 0
        assert 0 < artifact.tolerance["probabilities"] < 1e-4
    # A server replays the golden sample within these tolerances, alone and in the largest batch.
    inputs, outputs = version.golden()
    for artifact in manifest.artifacts:
        run = exporter_of(artifact.format).open(version.artifact_path(artifact), manifest.signature)
        for name, found in run(inputs).items():
            np.testing.assert_allclose(found, outputs[name], rtol=0, atol=artifact.tolerance[name])
    assert repository.open("toy", 1).digest == version.digest
    assert any(step.startswith("onnx: comparing on 50 samples in batches of 1, 2, 7, 8") for step in steps)


def test_a_second_export_is_the_next_version(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    for _ in range(2):
        publish(of_checkpoint(checkpoints.spec(), saved), repository, ["torchscript"])
    assert repository.versions("toy") == [1, 2]


def test_the_same_checkpoint_gives_the_same_files(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    one, other = (publish(of_checkpoint(checkpoints.spec(), saved), repository, ["onnx"]).version for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.manifest.artifacts[0] == other.manifest.artifacts[0]
    assert one.manifest.golden == other.manifest.golden


def change_weight(path: Path, name: str, index: int, factor: float) -> None:
    """Multiply one number of an initializer of a saved ONNX file."""
    model = onnx.load(path)
    initializer = next(initializer for initializer in model.graph.initializer if initializer.name == name)
    weights = numpy_helper.to_array(initializer).copy()
    weights.reshape(-1)[index] *= factor
    initializer.CopyFrom(numpy_helper.from_array(weights, name))
    onnx.save(model, path)


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Have every saved ONNX file changed between its export and its check."""
    export = OnnxExporter.export

    def tampered(self: OnnxExporter, source: ExportSource, path: Path) -> None:
        export(self, source, path)
        change(path)

    monkeypatch.setattr(OnnxExporter, "export", tampered)


def test_one_wrong_format_publishes_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, lambda path: change_weight(path, "convolution.weight", 0, 1.01))
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint")), repository)
    assert publication.version is None
    assert [(result.format, result.passed) for result in publication.results] == [("onnx", False), ("torchscript", True)]
    assert leftovers(repository) == []


def test_a_format_that_cannot_be_exported_leaves_the_others_their_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(self: OnnxExporter, source: ExportSource, path: Path) -> None:
        raise ExportError("onnx: no such operator")

    monkeypatch.setattr(OnnxExporter, "export", cannot)
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint")), repository)
    assert [(result.error, result.passed) for result in publication.results] == [
        ("onnx: no such operator", False),
        (None, True),
    ]
    assert leftovers(repository) == []


def test_digits_with_one_weight_of_its_first_convolution_changed_by_one_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = specs.find("digits").build()
    saved = checkpoints.save(tmp_path / "checkpoint", network, replace(checkpoints.ORIGIN, model="digits"))
    name, weights = next(iter(network.named_parameters()))
    assert weights.dim() == 4
    median = int(weights.detach().abs().flatten().argsort()[weights.numel() // 2])
    tamper(monkeypatch, lambda path: change_weight(path, f"network.{name}", median, 1.01))
    repository = Repository(tmp_path / "models")
    words = [str(saved.path), "--repository", str(repository.root), "--formats", "onnx"]
    assert cli.main(["export", *words]) == 1
    out = capsys.readouterr().out
    assert f"{SAMPLES} real samples in batches of 1, 2, 7, 64" in out
    assert "onnx: probabilities: " in out
    assert out.splitlines()[-1] == "digits: nothing published"
    assert leftovers(repository) == []


@pytest.mark.parametrize(("weights", "value"), [("weight", torch.nan), ("bias", torch.inf)])
def test_a_network_that_answers_no_numbers_is_not_published(tmp_path: Path, weights: str, value: float) -> None:
    network = modules.classifier().module
    with torch.no_grad():
        network.get_parameter(f"linear.{weights}")[3] = value
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint", network)), repository)
    assert publication.version is None
    for result in publication.results:
        assert any(" not finite: " in fault for fault in result.faults)
    assert leftovers(repository) == []


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_when_an_artifact_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    monkeypatch.setattr(Path, "write_bytes", full)
    publication = publish(of_checkpoint(checkpoints.spec(), saved), repository, ["torchscript"])
    assert publication.results[0].error == "torchscript: cannot write model.pt: No space left on device"
    assert publication.version is None
    assert leftovers(repository) == []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("export.golden.np.savez", "cannot write golden.npz: No space left on device"),
        ("models.repository.Manifest.to_bytes", "cannot publish to .*toy: No space left on device"),
        ("models.repository.os.fsync", "cannot publish to .*toy: No space left on device"),
        ("pathlib.Path.rename", "cannot publish to .*toy: No space left on device"),
    ],
)
def test_a_disk_that_is_full_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, message: str) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    monkeypatch.setattr(function, full)
    with pytest.raises(RepositoryError, match=message):
        publish(of_checkpoint(checkpoints.spec(), saved), repository, ["torchscript"])
    assert leftovers(repository) == []


def test_a_repository_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    (tmp_path / "models").write_text("a file")
    steps: list[str] = []
    with pytest.raises(RepositoryError, match=r"cannot write to .*models/toy: "):
        publish(of_checkpoint(checkpoints.spec(), saved), Repository(tmp_path / "models"), tell=steps.append)
    assert steps == []


def test_weights_of_another_network_leave_nothing(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint", torch.nn.Linear(2, 2))
    repository = Repository(tmp_path / "models")
    with pytest.raises(CheckpointError):
        publish(of_checkpoint(checkpoints.spec(), saved), repository)
    assert leftovers(repository) == []


def test_a_format_asked_for_twice_is_exported_once_and_none_is_an_error(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), saved), repository, ["torchscript", "torchscript"])
    assert [result.format for result in publication.results] == ["torchscript"]
    for formats, message in (([], "formats: expected one or more"), (["onnxx"], "format: expected one of")):
        with pytest.raises(ExportError, match=message):
            publish(of_checkpoint(checkpoints.spec(), saved), repository, formats)


def test_a_file_that_lies_about_its_batch_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = TorchScriptExporter.open

    def fixed(self: TorchScriptExporter, path: Path, signature: object) -> object:
        run = opened(self, path, checkpoints.spec().signature)

        def three_rows(inputs: Tensors) -> object:
            if len(inputs["image"]) != 3:
                raise RuntimeError("shape '[3, 96]' is invalid for input of size 96")
            return run(inputs)

        return three_rows

    monkeypatch.setattr(TorchScriptExporter, "open", fixed)
    saved = checkpoint.load(checkpoints.save(tmp_path / "checkpoint").path)
    publication = publish(of_checkpoint(checkpoints.spec(), saved), Repository(tmp_path / "models"), ["torchscript"])
    assert publication.results[0].faults[0].startswith("probabilities: cannot run on batches of 1: RuntimeError")


def test_a_format_that_this_machine_cannot_open_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(self: OnnxExporter, path: Path, signature: object) -> object:
        raise ExportError("onnx: cannot open model.onnx: opset 99 is not supported")

    monkeypatch.setattr(OnnxExporter, "open", cannot)
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint")), repository)
    assert publication.version is None
    assert [(result.exported, result.error, result.passed) for result in publication.results] == [
        (True, "onnx: cannot open model.onnx: opset 99 is not supported; exported, but not checked here", False),
        (True, None, True),
    ]
    assert leftovers(repository) == []


def test_a_format_whose_package_is_missing_leaves_the_others_their_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.exporter.FORMATS", {**FORMATS, "onnx": "export.no_such_exporter:Exporter"})
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint")), repository)
    first, second = publication.results
    assert (first.exported, first.passed, second.passed) == (False, False, True)
    assert str(first.error).startswith("onnx: needs the package 'export.no_such_exporter'")
    assert leftovers(repository) == []


def test_the_options_reach_the_files(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "checkpoint")
    repository = Repository(tmp_path / "models")
    publication = publish(of_checkpoint(checkpoints.spec(), saved, options=Options(opset=21)), repository, ["onnx"])
    assert publication.version is not None
    model = onnx.load(publication.version.path / "model.onnx")
    assert [imported.version for imported in model.opset_import if not imported.domain] == [21]
