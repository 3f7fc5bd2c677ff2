"""What is in a `model.pt2` beside the model: nothing that runs, and nothing of the samples or of this machine."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from export.exported_program import ExportedProgramExporter
from export.exporter import ExportError
from models.tensors import TensorSpec
from tests.export import modules


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    ExportedProgramExporter().export(modules.classifier(), path)
    return path


def test_no_record_is_a_pickle(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    # A pickle ends with a stop, and torch's own is an archive with one inside.
    assert not any(name.endswith(".pkl") for name in members)
    assert members["archive/data/sample_inputs/model.pt"] == b""
    assert not any(data.startswith((b"PK", b"\x80")) for name, data in members.items() if "weight_" not in name)


def test_no_sample_is_in_the_file(path: Path) -> None:
    first = modules.classifier().samples["image"][0]
    assert first.tobytes() not in path.read_bytes()


def fails_beyond_aten(x: Tensor) -> tuple[Tensor]:
    return (torch.ops.prims.sin.default(x),)


def test_an_operator_that_no_server_would_open_is_found_at_export(tmp_path: Path) -> None:
    source = modules.of(fails_beyond_aten, TensorSpec("y", "FP32", (3,)), samples=modules.numbers(4, 3))
    expected = r"^exported_program: no server would open the file: expected operators on tensors \(torch\.ops\.aten\), found"
    with pytest.raises(ExportError, match=expected):
        ExportedProgramExporter().export(source, tmp_path / "model.pt2")
    assert not (tmp_path / "model.pt2").exists()
