"""An exported program in which something would run is refused before torch opens it; torch alone would run it."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.program import ProgramError, check
from models.repository import Repository
from proofs.crafted_programs import (
    CRAFTED,
    PROGRAM,
    RUN_BY_TORCH,
    STRANGE,
    Records,
    archive,
    edited,
    in_a_size,
    records_of,
    target,
)
from serving.backends.base import ArtifactBytes, BackendError
from serving.backends.exported_program import ExportedProgramBackend
from tests import toys


@pytest.fixture
def records(toy_in_every_format: Path) -> Records:
    return records_of(Repository(toy_in_every_format).open("toy", 1).path / "model.pt2")


@pytest.mark.parametrize("craft", RUN_BY_TORCH, ids=lambda craft: craft.__name__)
@pytest.mark.filterwarnings("ignore")
def test_what_torch_would_run_is_refused_before_it_can(
    records: Records, craft: Callable[[Records, Path], Records], tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    data = archive(craft(records, mark))
    with pytest.raises(BackendError, match=r"^model\.pt2: [^\n]*(expected|found)") as error:
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)
    assert str(tmp_path) not in str(error.value) or craft is in_a_size
    assert not mark.exists()
    # The evidence that there is something to refuse: torch's own loader runs it.
    with contextlib.suppress(Exception):  # it may fail afterwards, whatever it says
        torch.export.load(io.BytesIO(data))
    assert mark.exists()


@pytest.mark.parametrize(("edit", "why"), CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_program_is_refused(records: Records, edit: Callable[[Any], None], why: str) -> None:
    data = archive(edited(records, PROGRAM, edit))
    with pytest.raises(BackendError, match=rf"^model\.pt2: {why}"):
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)


@pytest.mark.parametrize("name", STRANGE)
def test_a_record_that_export_does_not_write_is_refused(records: Records, name: str) -> None:
    data = archive({**records, name: b"{}"})
    with pytest.raises(BackendError, match=r"^model\.pt2: expected records of numbers and one program, found"):
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)


def test_the_records_taken_apart_and_put_together_are_still_opened(records: Records) -> None:
    held = ArtifactBytes("model.pt2", archive(records))
    session = ExportedProgramBackend().open(held, toys.signature(), device="cpu", threads=1)
    pixels = toys.images(3)
    assert (session.run({"image": pixels})["class"] == toys.reference(pixels)["class"]).all()
    session.close()


def test_every_operator_of_this_torch_that_names_a_file_is_refused(records: Records) -> None:
    # A new release may bring another one: what it calls the argument is how it would be noticed.
    schemas = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
    files = {
        schema.name.removeprefix("aten::")
        for schema in schemas
        if any("file" in argument.name for argument in schema.arguments)
    }
    assert {"from_file", "save"} <= files
    for name in files:
        changed = edited(records, PROGRAM, target(f"torch.ops.aten.{name}.default"))
        with pytest.raises(ProgramError, match="expected operators on tensors"):
            check(list(changed), changed.__getitem__)
