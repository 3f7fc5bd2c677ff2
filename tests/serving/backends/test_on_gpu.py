"""What every torch backend promises, on a GPU. Without one these tests are skipped: nothing of this can be shown then."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.repository import Repository
from models.tensors import Array
from serving.backends.base import BackendError, Execution, PipelinedSession, backend_for
from tests import toys

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use, found none")

#: On a GPU sums are made in another order than on the CPU.
TOLERANCE = {"probabilities": 1e-4, "class": 0.0}


@pytest.fixture(params=["exported_program", "torchscript"])
def format(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[None, ()], ids=["graphs", "eager"])
def session(request: pytest.FixtureRequest, format: str, toy_in_every_format: Path) -> Iterator[PipelinedSession]:
    opened = on_gpu(toy_in_every_format, format, Execution(batch_buckets=request.param))
    assert opened.buckets == ((1, 2, 4, 8) if request.param is None else ())
    yield opened
    opened.close()


def on_gpu(repository: Path, format: str, execution: Execution) -> PipelinedSession:
    artifact = Repository(repository).open("toy", 1).path / toys.FILES[format]
    session = backend_for(format).open(artifact, toys.signature(), device="cuda", threads=1, execution=execution)
    assert isinstance(session, PipelinedSession)
    return session


def same(found: object, pixels: Array) -> None:
    assert isinstance(found, dict)
    for name, array in toys.reference(pixels).items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=0, atol=TOLERANCE[name])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_answers_are_those_of_the_reference(session: PipelinedSession, count: int) -> None:
    pixels = toys.images(count, seed=count)
    same(session.run({"image": pixels}), pixels)


def test_batches_that_overlap_keep_their_answers(session: PipelinedSession) -> None:
    batches = [toys.images(1 + seed % 8, seed=seed) for seed in range(100)]
    under_way: list[Array] = []
    for pixels in batches:
        if len(under_way) == session.depth:
            same(session.end(), under_way.pop(0))
        memory = session.allocate("image", pixels.shape)
        memory[:] = pixels
        session.begin({"image": memory})
        under_way.append(pixels)
    for pixels in under_way:
        same(session.end(), pixels)


def test_outputs_stay_as_they_are_when_the_session_runs_again(session: PipelinedSession) -> None:
    first = session.run({"image": toys.images(5)})
    for seed in range(20):
        session.run({"image": toys.images(5, seed=seed)})
    same(first, toys.images(5))


def test_two_instances_answer_side_by_side(toy_in_every_format: Path, format: str) -> None:
    sessions = [on_gpu(toy_in_every_format, format, Execution()) for _ in range(2)]
    for seed in range(20):
        for number, session in enumerate(sessions):
            session.begin({"image": toys.images(8, seed=2 * seed + number)})
        for number, session in enumerate(sessions):
            same(session.end(), toys.images(8, seed=2 * seed + number))
    for session in sessions:
        session.close()


@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
def test_a_coarser_arithmetic_keeps_decisions(toy_in_every_format: Path, format: str, precision: str) -> None:
    session = on_gpu(toy_in_every_format, format, Execution(precision))
    pixels = toys.images(8)
    found = session.run({"image": pixels})
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(found["class"], toys.reference(pixels)["class"])
    session.close()


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(toy_in_every_format: Path, format: str) -> None:
    artifact = Repository(toy_in_every_format).open("toy", 1).path / toys.FILES[format]
    with pytest.raises(BackendError, match=r"device: expected one of 'cpu', 'cuda:0'.*, found 'cuda:99'"):
        backend_for(format).open(artifact, toys.signature(), device="cuda:99", threads=1)
