"""What a server makes of an image file is what training saw, or nothing is published."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cli
from export import content_parity
from export.publish import publish
from export.subject import Subject, of_checkpoint
from models import spec as specs
from models.content import ImageContent
from models.repository import Repository
from models.tensors import Array
from tests.export import checkpoints
from training import checkpoint


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint"))


def test_what_is_read_alike_is_no_fault(subject: Subject) -> None:
    assert content_parity.faults(subject) == ()
    assert content_parity.faults(replace(subject, pipeline=None)) == ()
    assert content_parity.faults(replace(subject, content=None)) == ()


def spoil_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[Array], Array]) -> None:
    """Have the server's decoder change what it reads."""
    read = ImageContent.read
    monkeypatch.setattr(ImageContent, "read", lambda self, data: {name: change(a) for name, a in read(self, data).items()})


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda image: image.swapaxes(1, 2), "as other values: image: 5"),
        (lambda image: 255 - image, "as other values: image: 64 of 64 values differ"),
        (lambda image: image[:, :4], "as other values: image: expected shape [1, 8, 8], found [1, 4, 8]"),
    ],
)
def test_a_decoder_with_other_ideas_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, change: Callable[[Array], Array], how: str
) -> None:
    spoil_read(monkeypatch, change)
    first, second = content_parity.faults(subject)
    assert first.startswith(f"content: sample 0 of the training pipeline, as people send it, is read by the server {how}")
    assert second.startswith("content: sample 0 of the samples of parity, ")


def test_a_writer_and_a_reader_that_are_wrong_alike_are_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_read(monkeypatch, lambda image: image.swapaxes(1, 2))
    write = ImageContent.to_png
    monkeypatch.setattr(ImageContent, "to_png", lambda self, sample: write(self, sample.T))
    assert content_parity.faults(subject)[0].startswith(
        "content: sample 0 of the training pipeline: is written as other pixels"
    )


def test_a_pipeline_that_scales_its_images_is_found(subject: Subject) -> None:
    assert subject.pipeline is not None
    scaled = [{"image": inputs["image"].astype(np.float32) / 255} for inputs in subject.pipeline()]
    (fault,) = content_parity.faults(replace(subject, pipeline=lambda: scaled))
    assert fault == (
        "content: sample 0 of the training pipeline: expected pixels as uint8, as servers decode them, found float32"
    )


def test_nothing_is_published_and_the_exit_code_is_1(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil_read(monkeypatch, lambda image: image[:, ::-1])
    publication = publish(subject, Repository(tmp_path / "models"), ["torchscript"])
    assert publication.version is None
    assert [result.passed for result in publication.results] == [True]
    assert not publication.passed
    monkeypatch.setattr(specs, "available", lambda: ["toy"])
    monkeypatch.setattr(specs, "find", lambda name: checkpoints.spec())
    monkeypatch.chdir(tmp_path)
    checkpoints.save(checkpoint.new_path(tmp_path / "checkpoints", "toy"))
    assert cli.main(["export", "toy", "--formats", "torchscript"]) == 1
    out = capsys.readouterr().out
    assert "content: sample 0 of the training pipeline, as people send it, is read by the server as other values" in out
    assert out.splitlines()[-1] == "toy: nothing published"
    assert Repository(tmp_path / "models").versions("toy") == []
