"""What can be known of CUDA without it: which devices are refused and how, who has which stream, what is told when."""

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.repository import Repository
from models.tensors import Signature, TensorSpec
from serving.backends import cuda, devices, exported_program, torchscript
from serving.backends.arithmetic import Switch
from serving.backends.base import BackendError, Execution, PipelinedSession, backend_for
from serving.backends.cuda import CudaOpener, Leases
from serving.backends.pipeline import Lanes
from tests import toys
from tests.serving.backends.lazy_device import Again, LazyStream, memory
from tests.serving.sessions import SIGNATURE, rows


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:12", "cuda:12"), ("cuda:01", "cuda:1")],
)
def test_a_device_has_one_name(device: str, name: str) -> None:
    assert devices.normalised(device) == name
    assert devices.index_of(device) == (None if name == "cpu" else int(name[5:]))


@pytest.mark.parametrize(
    "device", ["", "gpu", "CUDA:0", "cuda:", "cuda:-1", "cuda:x", "cuda:0 ", "cpu:0", "cuda:12345", "cuda:\u0661"]
)
def test_what_names_no_device_has_none(device: str) -> None:
    assert devices.normalised(device) is None
    assert devices.index_of(device) is None


@pytest.mark.parametrize(
    ("there", "built", "device", "message"),
    [
        (0, None, "cuda:1", f"device: expected 'cpu', found 'cuda:1': torch {torch.__version__} is built without CUDA"),
        (0, "13.0", "cuda", f"device: expected 'cpu', found 'cuda': torch {torch.__version__} finds no GPU"),
        (1, "13.0", "cuda:1", "device: expected one of 'cpu', 'cuda:0', found 'cuda:1'"),
        (2, "13.0", "tpu", "device: expected one of 'cpu', 'cuda:0', 'cuda:1', found 'tpu'"),
        (0, None, "tpu", "device: expected 'cpu', found 'tpu'"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_is(
    monkeypatch: pytest.MonkeyPatch, there: int, built: str | None, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(BackendError) as error:
        cuda.check_device(device)
    assert str(error.value) == message


def test_a_device_that_is_there_is_called_by_its_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [cuda.check_device(device) for device in ("cpu", "cuda", "cuda:0")] == ["cpu", "cuda:0", "cuda:0"]


def test_a_stream_is_one_session_s_until_it_is_given_back() -> None:
    made = iter([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    leases = Leases[int](pool=3)

    def take() -> int:
        return leases.take(lambda: next(made), lambda number: number)

    assert [take(), take()] == [0, 1]
    leases.give_back(0)
    assert take() == 2
    assert take() == 0
    with pytest.raises(BackendError, match="at most 3 instances of all models on one GPU"):
        take()


class FakeGpu:
    """A GPU's streams, without one."""

    taken = 0

    def __init__(self, index: int) -> None:
        self.index = index
        self.compute, self.copies = LazyStream(late=False), LazyStream(late=False)
        FakeGpu.taken += 1

    def lanes(self) -> Lanes:
        return Lanes(self.copies, self.compute, memory, memory)

    def memory(self, size_bytes: int) -> torch.Tensor:
        return memory(size_bytes)

    def record(self, run: Callable[[], Sequence[torch.Tensor]]) -> Again:
        return Again(run)

    def give_back(self) -> None:
        FakeGpu.taken -= 1


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch) -> CudaOpener:
    monkeypatch.setattr(cuda, "Gpu", FakeGpu)
    monkeypatch.setattr(cuda, "_TF32", Switch(lambda on: None))
    monkeypatch.setattr(FakeGpu, "taken", 0)
    return CudaOpener()


def open_with(
    opener: CudaOpener, module: Callable[..., Any], execution: Execution, signature: Signature = SIGNATURE
) -> cuda.CudaSession:
    return opener.open(module, signature, device="cuda:0", execution=execution, name="model.pt")


@pytest.mark.parametrize(
    ("execution", "buckets"),
    [(Execution(), (1, 2, 4, 8)), (Execution(batch_buckets=(3,)), (3, 8)), (Execution("tf32", ()), ())],
)
def test_a_module_is_recorded_for_each_bucket_or_not_at_all(
    opener: CudaOpener, execution: Execution, buckets: tuple[int, ...]
) -> None:
    session = open_with(opener, lambda x: x * 2, execution)
    assert session.buckets == buckets
    np.testing.assert_array_equal(session.run({"x": rows(1, 2, 3)})["y"], rows(1, 2, 3) * 2)
    assert FakeGpu.taken == 1
    session.close()
    assert FakeGpu.taken == 0


def test_what_cannot_be_recorded_is_executed_and_that_is_told_once(
    opener: CudaOpener, caplog: pytest.LogCaptureFixture
) -> None:
    def mean(x: torch.Tensor) -> torch.Tensor:
        if len(x) == 4:
            raise RuntimeError("operation not permitted when stream is capturing")
        return x * 2

    caplog.set_level(logging.WARNING)
    sessions = [open_with(opener, mean, Execution()) for _ in range(2)]
    assert [session.buckets for session in sessions] == [(), ()]
    told = [record.getMessage() for record in caplog.records if "cuda_graphs_off" in record.getMessage()]
    reason = "4 rows: operation not permitted when stream is capturing"
    assert told == [f"event=cuda_graphs_off artifact=model.pt reason={reason!r}"]
    np.testing.assert_array_equal(sessions[0].run({"x": rows(1, 2, 3)})["y"], rows(1, 2, 3) * 2)


def test_texts_do_not_go_to_a_gpu(opener: CudaOpener) -> None:
    text = TensorSpec("t", "BYTES", ())
    with pytest.raises(BackendError, match="expected numbers in and out of a GPU, found a tensor of BYTES"):
        open_with(opener, lambda t: t, Execution(), Signature((text,), (text,), 8))
    assert FakeGpu.taken == 0


def test_streams_are_given_back_where_opening_fails(opener: CudaOpener, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size_bytes: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(FakeGpu, "memory", lambda self, size_bytes: full(size_bytes))
    with pytest.raises(BackendError, match=r"^model\.pt: cannot be opened on cuda:0: CUDA out of memory\.$"):
        open_with(opener, lambda x: x, Execution())
    assert FakeGpu.taken == 0


@pytest.mark.parametrize("format", ["exported_program", "torchscript"])
@pytest.mark.parametrize("execution", [Execution(), Execution("tf32", ())], ids=["recorded", "eager"])
def test_both_formats_go_the_way_of_a_gpu(
    opener: CudaOpener, toy_in_every_format: Path, monkeypatch: pytest.MonkeyPatch, format: str, execution: Execution
) -> None:
    load: Any = torch.jit.load  # Any: torch.jit is not typed
    for module in (torchscript, exported_program):
        monkeypatch.setattr(module, "check_device", lambda device: device)
    # Weights stay where they are: there is nowhere to move them to.
    monkeypatch.setattr(torch.jit, "load", lambda data, map_location: load(data, map_location="cpu"))
    monkeypatch.setattr(exported_program, "move_to_device_pass", lambda program, device: program)
    artifact = Repository(toy_in_every_format).open("toy", 1).path / toys.FILES[format]
    session = backend_for(format).open(artifact, toys.signature(), device="cuda:0", threads=1, execution=execution)
    assert isinstance(session, PipelinedSession)
    assert session.buckets == ((1, 2, 4, 8) if execution.batch_buckets is None else ())
    for count in (8, 1, 5):
        pixels = toys.images(count, seed=count)
        found, expected = session.run({"image": pixels}), toys.reference(pixels)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=0, atol=toys.TOLERANCE[name])
    session.close()
    assert FakeGpu.taken == 0


def test_every_device_that_is_written_into_a_program_moves_with_it(tmp_path: Path) -> None:
    # To a device without numbers, as there is no GPU: a tensor that stayed on the CPU would not be taken with the others.
    from torch.export.passes import move_to_device_pass
    from torch.export.pt2_archive._package import load_pt2

    from export.exported_program import ExportedProgramExporter
    from export.exporter import ExportSource

    class Makes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", torch.from_numpy(toys.weights()))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = (image.flatten(1).float() + torch.zeros(16) + torch.arange(16)) @ self.get_buffer("weights")
            return logits.softmax(1), logits.argmax(1)

    path = tmp_path / "model.pt2"
    ExportedProgramExporter().export(ExportSource(Makes().eval(), toys.signature(), {"image": toys.images(3)}), path)
    program = load_pt2(io.BytesIO(path.read_bytes())).exported_programs["model"]
    with torch.inference_mode():
        outputs = move_to_device_pass(program, "meta").module()(torch.from_numpy(toys.images(5)).to("meta"))
    assert [output.device.type for output in outputs] == ["meta", "meta"]
