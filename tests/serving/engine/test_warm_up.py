import pytest

from models.tensors import Signature, Tensors, TensorSpec
from serving.backends.base import BackendError
from serving.engine.warm_up import warm_up
from tests.serving.sessions import SIGNATURE, FakeSession


def test_one_row_and_the_largest_batch_are_run() -> None:
    session = FakeSession()
    assert warm_up(session, SIGNATURE)
    assert [len(batch) for batch in session.batches] == [1, 8]


def test_a_model_without_a_batch_axis_is_run_once() -> None:
    whole = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),), 0)
    session = FakeSession()
    assert warm_up(session, whole)
    assert [batch.shape for batch in session.batches] == [(2,)]


def test_another_length_is_tried_where_one_is_refused_and_none_need_suit() -> None:
    free = Signature((TensorSpec("x", "FP32", (None,)),), (TensorSpec("y", "FP32", (None,)),), 8)

    def odd(inputs: Tensors) -> Tensors:
        if inputs["x"].shape[1] % 2 == 0:
            raise RuntimeError
        return {"y": inputs["x"]}

    def none(inputs: Tensors) -> Tensors:
        raise RuntimeError

    assert warm_up(FakeSession(odd), free)
    assert not warm_up(FakeSession(none), free)


def test_outputs_that_are_not_those_declared_close_the_door() -> None:
    with pytest.raises(BackendError, match=r"not those declared: output y: expected shape \[-1, 2\], found shape \[1, 1\]"):
        warm_up(FakeSession(lambda inputs: {"y": inputs["x"][:, :1]}), SIGNATURE)
