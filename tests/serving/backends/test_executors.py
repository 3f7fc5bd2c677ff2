"""Recordings, on the CPU: the recorder runs the function again into the same outputs, as a CUDA graph does."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from models.tensors import Signature, TensorSpec
from serving.backends.buckets import buckets_of
from serving.backends.executors import Eager, Recorded, RecordingError, record
from serving.backends.pipeline import Execute, Pipeline
from tests.serving.backends.lazy_device import Again, lanes, memory
from tests.serving.sessions import SIGNATURE, rows


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def recorded(module: Callable[..., object] = double, signature: Signature = SIGNATURE) -> Execute:
    buckets = buckets_of(signature, None)
    return record(Eager(module), signature, buckets, memory=memory, recorder=Again)


@pytest.mark.parametrize("late", [True, False])
def test_a_batch_of_any_size_is_answered_as_without_recordings(late: bool) -> None:
    session = Pipeline(SIGNATURE, lanes(late=late), recorded(), buckets=(1, 2, 4, 8))
    for count in (8, 1, 3, 5, 8, 2, 7):
        batch = rows(*range(count))
        np.testing.assert_array_equal(session.run({"x": batch})["y"], batch * 2)
    session.begin({"x": rows(1, 2, 3)})
    session.begin({"x": rows(4, 5, 6, 7)})
    np.testing.assert_array_equal(session.end()["y"], rows(1, 2, 3) * 2)
    np.testing.assert_array_equal(session.end()["y"], rows(4, 5, 6, 7) * 2)


def test_the_rows_beyond_a_batch_are_zeros_and_never_another_client_s() -> None:
    seen: list[torch.Tensor] = []

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x * 2

    run = recorded(watched)
    assert [len(one) for one in seen] == [8, 4, 2, 1], "the largest is recorded first"
    assert not any(one.any() for one in seen), "recorded on zeros, not on what the memory held"
    run([torch.from_numpy(rows(*range(1, 9)))])
    (output,) = run([torch.from_numpy(rows(1, 2, 3, 4, 5))])
    assert len(seen[-1]) == 8
    assert not seen[-1][5:].any()
    assert len(output) == 5


def test_more_rows_than_the_largest_bucket_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 8 rows, found 9"):
        recorded()([torch.zeros(9, 2)])


def test_a_model_without_a_batch_axis_is_recorded_whole() -> None:
    spec = TensorSpec("x", "FP32", (2, 3))
    run = recorded(signature=Signature((spec,), (spec,), 0))
    assert isinstance(run, Recorded)
    (output,) = run([torch.ones(2, 3)])
    assert output.tolist() == [[2.0] * 3] * 2


def test_a_module_that_cannot_run_on_zeros_or_not_be_recorded_is_no_recording() -> None:
    def raising(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("capture\nat length")

    with pytest.raises(RecordingError, match=r"^8 rows: capture$"):
        recorded(raising)


@pytest.mark.parametrize("module", [lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.repeat(2, 1)])
def test_outputs_that_have_no_row_for_each_row_cannot_be_cut(module: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(RecordingError, match="8 rows: output 'y': expected as many rows"):
        recorded(module)


def test_shapes_that_are_not_known_before_are_not_recorded() -> None:
    spec = TensorSpec("x", "FP32", (None,))
    signature = Signature((spec,), (spec,), 8)
    with pytest.raises(RecordingError, match="free axis"):
        record(Eager(double), signature, (8,), memory=memory, recorder=Again)


def test_a_lone_tensor_and_a_tuple_are_both_outputs() -> None:
    def two(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x + 1

    lone: Sequence[torch.Tensor] = Eager(double)([torch.ones(1)])
    assert [len(lone), len(Eager(two)([torch.ones(1)]))] == [1, 2]
