"""Arithmetic that is coarser than what was exported: on the CPU, where torch has FP16 and BF16 too."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.repository import Repository
from serving.backends.arithmetic import Switch, turn_tf32
from serving.backends.base import BackendError, Execution, Session, backend_for
from tests import toys
from tests.serving.sessions import PATIENCE

TORCH = ("exported_program", "torchscript")


def opened(repository: Path, format: str, precision: str | None) -> Session:
    artifact = Repository(repository).open("toy", 1).path / toys.FILES[format]
    execution = Execution(precision)
    return backend_for(format).open(artifact, toys.signature(), device="cpu", threads=1, execution=execution)


@pytest.mark.parametrize("format", TORCH)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_answers_keep_their_types_and_decisions_and_are_computed_more_coarsely(
    toy_in_every_format: Path, format: str, precision: str
) -> None:
    pixels = toys.images(8)
    expected = toys.reference(pixels)
    session = opened(toy_in_every_format, format, precision)
    found = session.run({"image": pixels})
    assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in expected.items()}
    np.testing.assert_array_equal(found["class"], expected["class"])
    difference = np.abs(found["probabilities"] - expected["probabilities"]).max()
    assert toys.TOLERANCE["probabilities"] < difference < 0.05
    session.close()


@pytest.mark.parametrize("format", TORCH)
def test_as_exported_is_what_a_session_is_without_saying_so(toy_in_every_format: Path, format: str) -> None:
    session = opened(toy_in_every_format, format, None)
    found = session.run({"image": toys.images(8)})
    np.testing.assert_allclose(found["probabilities"], toys.reference(toys.images(8))["probabilities"], atol=1e-5)
    session.close()


@pytest.mark.parametrize("format", TORCH)
@pytest.mark.parametrize("precision", ["tf32", "fp8", ""])
def test_a_precision_that_the_device_does_not_have_is_refused(
    toy_in_every_format: Path, format: str, precision: str
) -> None:
    with pytest.raises(BackendError, match=f"precision: expected one of fp16, bf16 on cpu, or none, found '{precision}'"):
        opened(toy_in_every_format, format, precision)


def test_onnx_runtime_leaves_precision_to_the_exporter(toy_in_every_format: Path) -> None:
    with pytest.raises(BackendError, match="expected none on the CPU in ONNX Runtime, found 'bf16'; for 16 bits, export"):
        opened(toy_in_every_format, "onnx", "bf16")


def test_a_program_that_asserts_its_own_types_runs_in_another_arithmetic(tmp_path: Path) -> None:
    from export.exported_program import ExportedProgramExporter
    from export.exporter import ExportSource

    class Certain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", torch.from_numpy(toys.weights()))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            # `.float()` of what is FP32 already: torch.export notes that as an assertion, and a cast makes it untrue.
            logits = ((image.flatten(1).float() / 255) @ self.get_buffer("weights")).float()
            return logits.softmax(1), logits.argmax(1)

    path = tmp_path / "model.pt2"
    ExportedProgramExporter().export(ExportSource(Certain().eval(), toys.signature(), {"image": toys.images(3)}), path)
    backend = backend_for("exported_program")
    session = backend.open(path, toys.signature(), device="cpu", threads=1, execution=Execution("bf16"))
    pixels = toys.images(8)
    np.testing.assert_array_equal(session.run({"image": pixels})["class"], toys.reference(pixels)["class"])
    session.close()


def test_those_who_need_the_same_position_hold_it_together() -> None:
    turns: list[bool] = []
    switch = Switch(turns.append)
    with switch.held(False), switch.held(False):
        assert turns == [False]
    with switch.held(True):
        assert turns == [False, True]


def test_who_needs_the_other_position_waits_and_is_not_overtaken() -> None:
    position: list[bool] = []
    switch = Switch(position.append)
    seen: list[tuple[str, bool]] = []
    entered, leave, asking = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with switch.held(False):
            entered.set()
            assert leave.wait(PATIENCE)
            seen.append(("first", position[-1]))

    def other() -> None:
        asking.set()
        with switch.held(True):
            seen.append(("other", position[-1]))

    threads = [threading.Thread(target=first, daemon=True), threading.Thread(target=other, daemon=True)]
    threads[0].start()
    assert entered.wait(PATIENCE)
    threads[1].start()
    assert asking.wait(PATIENCE)
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert seen == [("first", False), ("other", True)]


def test_many_threads_in_both_positions_never_meet() -> None:
    position: list[bool] = []
    switch = Switch(position.append)
    wrong: list[bool] = []

    def work(mine: bool) -> None:
        for _ in range(200):
            with switch.held(mine):
                if position[-1] != mine:
                    wrong.append(mine)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong


def test_tf32_is_one_switch_for_all_that_could_use_it() -> None:
    cudnn: Any = torch.backends.cudnn  # Any: torch's types do not know what is in it
    switches = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [switch.fp32_precision for switch in switches]
    try:
        turn_tf32(True)
        assert {switch.fp32_precision for switch in switches} == {"tf32"}
        turn_tf32(False)
        assert {switch.fp32_precision for switch in switches} == {"ieee"}
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
