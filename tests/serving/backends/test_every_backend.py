"""What every backend promises, on the toy and on the reference that numpy computes."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.repository import Repository
from models.tensors import Array, Signature, TensorSpec
from serving.backends.base import BACKENDS, PREFERENCE, ArtifactBytes, Backend, BackendError, Session, backend_for
from tests import toys
from tests.serving.sessions import PATIENCE

#: Formats whose files are ordinary ONNX to a server: opened by the same backend.
OTHER_ONNX = {"onnx_int8", "onnx_fp16"}
FORMATS = sorted(set(BACKENDS) - OTHER_ONNX)
FILES = toys.FILES

Open = Callable[..., Session]


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def backend(format: str) -> Backend:
    return backend_for(format)


@pytest.fixture
def artifact(format: str, toy_in_every_format: Path) -> Path:
    return Repository(toy_in_every_format).open("toy", 1).path / FILES[format]


@pytest.fixture
def session(backend: Backend, artifact: Path) -> Iterator[Session]:
    opened = backend.open(artifact, toys.signature(), device="cpu", threads=1)
    yield opened
    opened.close()


def same(found: object, pixels: Array) -> None:
    assert isinstance(found, dict)
    expected = toys.reference(pixels)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=0, atol=toys.TOLERANCE[name])


def test_every_format_of_the_table_is_in_this_suite_and_in_the_order_of_preference() -> None:
    assert set(FORMATS) == set(FILES) == set(PREFERENCE)
    assert {type(backend_for(format)) for format in OTHER_ONNX} == {type(backend_for("onnx"))}


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_answers_are_those_of_the_reference(session: Session, count: int) -> None:
    pixels = toys.images(count, seed=count)
    same(session.run({"image": pixels}), pixels)


def test_a_row_alone_is_answered_as_in_a_batch(session: Session) -> None:
    pixels = toys.images(8)
    batch = session.run({"image": pixels})
    for row in range(8):
        alone = session.run({"image": pixels[row : row + 1]})
        np.testing.assert_allclose(alone["probabilities"], batch["probabilities"][row : row + 1], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(alone["class"], batch["class"][row : row + 1])


def test_read_only_views_on_the_bytes_of_a_request_are_accepted(session: Session) -> None:
    pixels = toys.images(3)
    view = np.frombuffer(b"header" + pixels.tobytes(), np.uint8, offset=6).reshape(pixels.shape)
    assert not view.flags.writeable
    same(session.run({"image": view}), pixels)


def test_inputs_that_lie_apart_in_memory_are_read_in_their_order(session: Session) -> None:
    apart = np.asarray(np.asfortranarray(toys.images(6)))[::2]
    assert not apart.flags.c_contiguous
    same(session.run({"image": apart}), apart)


def test_inputs_are_never_written_to(session: Session) -> None:
    pixels = toys.images(4)
    before = pixels.copy()
    session.run({"image": pixels})
    np.testing.assert_array_equal(pixels, before)


def test_outputs_stay_as_they_are_when_the_session_runs_again(session: Session) -> None:
    pixels = toys.images(5)
    first = session.run({"image": pixels})
    kept = {name: array.copy() for name, array in first.items()}
    for seed in range(5, 25):
        session.run({"image": toys.images(5, seed=seed)})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


def test_outputs_outlive_the_session(backend: Backend, artifact: Path) -> None:
    session = backend.open(artifact, toys.signature(), device="cpu", threads=1)
    pixels = toys.images(2)
    found = session.run({"image": pixels})
    session.close()
    same(found, pixels)


def test_allocated_memory_has_the_input_s_datatype_and_can_be_written(session: Session) -> None:
    memory = session.allocate("image", (5, toys.SIZE, toys.SIZE))
    assert memory.shape == (5, toys.SIZE, toys.SIZE)
    assert memory.dtype == np.uint8
    assert memory.flags.writeable
    pixels = toys.images(5)
    memory[:] = pixels
    same(session.run({"image": memory}), pixels)


def test_two_sessions_of_one_artifact_run_side_by_side_in_threads(backend: Backend, artifact: Path) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            session = backend.open(artifact, toys.signature(), device="cpu", threads=1)
            for turn in range(30):
                pixels = toys.images(1 + turn % 8, seed=seed * 100 + turn)
                same(session.run({"image": pixels}), pixels)
            session.close()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failures


def test_a_session_may_be_opened_in_one_thread_and_used_in_another(session: Session) -> None:
    pixels, found = toys.images(2), []
    thread = threading.Thread(target=lambda: found.append(session.run({"image": pixels})))
    thread.start()
    thread.join(PATIENCE)
    same(found[0], pixels)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_answer(backend: Backend, artifact: Path, threads: int) -> None:
    session = backend.open(artifact, toys.signature(), device="cpu", threads=threads)
    pixels = toys.images(8)
    same(session.run({"image": pixels}), pixels)
    session.close()


def test_a_missing_file_is_a_backend_error(backend: Backend, format: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=FILES[format]) as error:
        backend.open(tmp_path / FILES[format], toys.signature(), device="cpu", threads=1)
    assert str(tmp_path) not in str(error.value), "clients may read the reason"


@pytest.mark.parametrize("data", [b"", b"\0", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 60, b"\x80\x04cos\nsystem\n."])
def test_a_file_of_something_else_is_a_backend_error(backend: Backend, format: str, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / FILES[format]
    path.write_bytes(data)
    with pytest.raises(BackendError, match=FILES[format]) as error:
        backend.open(path, toys.signature(), device="cpu", threads=1)
    assert str(tmp_path) not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_a_backend_error(backend: Backend, artifact: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / artifact.name
    data = artifact.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BackendError):
        backend.open(path, toys.signature(), device="cpu", threads=1)


def test_a_device_that_it_cannot_use_is_a_backend_error(backend: Backend, artifact: Path) -> None:
    with pytest.raises(BackendError, match=r"device: expected .*'cpu'.*, found 'tpu'"):
        backend.open(artifact, toys.signature(), device="tpu", threads=1)


def test_an_input_of_another_width_raises_and_the_session_goes_on(session: Session) -> None:
    with pytest.raises(Exception, match=r"."):
        session.run({"image": np.zeros((1, 5, 5), np.uint8)})
    pixels = toys.images(2)
    same(session.run({"image": pixels}), pixels)


def test_an_artifact_with_other_outputs_than_the_signature_s_never_gives_an_answer(backend: Backend, artifact: Path) -> None:
    more = (*toys.signature().outputs, TensorSpec("third", "FP32", ()))
    signature = Signature(toys.signature().inputs, more, 8)
    with pytest.raises((BackendError, ValueError)):
        backend.open(artifact, signature, device="cpu", threads=1).run({"image": toys.images(1)})


def test_bytes_that_were_read_before_are_opened_like_the_file(backend: Backend, artifact: Path) -> None:
    held = ArtifactBytes(artifact.name, artifact.read_bytes())
    session = backend.open(held, toys.signature(), device="cpu", threads=1)
    pixels = toys.images(3)
    same(session.run({"image": pixels}), pixels)
    session.close()


def test_a_file_tells_its_inputs_and_outputs_or_nothing(backend: Backend, format: str, artifact: Path) -> None:
    found = backend.declared(artifact)
    if format != "onnx":
        assert found is None
        return
    assert found is not None
    assert found.signature(8) == toys.signature()
