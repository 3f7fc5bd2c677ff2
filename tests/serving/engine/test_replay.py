from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.content import ImageContent
from models.tensors import Array, Signature, Tensors, TensorSpec
from serving.engine.replay import ReplayError, replay, replay_content
from tests import toys
from tests.serving.sessions import SIGNATURE, FakeSession, double, rows

GOLDEN = ({"x": rows(1, 2, 3)}, {"y": rows(2, 4, 6)})


def test_the_golden_sample_is_replayed_alone_and_in_the_largest_batch() -> None:
    session = FakeSession()
    replay(session, SIGNATURE, GOLDEN, {})
    alone, largest = session.batches
    assert alone.tolist() == rows(1).tolist()
    assert largest.tolist() == rows(1, 2, 3, 1, 2, 3, 1, 2).tolist()


def test_a_golden_sample_larger_than_a_batch_is_cut() -> None:
    session = FakeSession()
    numbers = list(range(20))
    replay(session, SIGNATURE, ({"x": rows(*numbers)}, {"y": rows(*numbers) * 2}), {})
    assert [len(batch) for batch in session.batches] == [1, 8]


def test_a_difference_within_the_tolerance_passes_and_one_past_it_does_not() -> None:
    session = FakeSession(lambda inputs: {"y": inputs["x"] * 2 + np.float32(0.25)})
    replay(session, SIGNATURE, GOLDEN, {"y": 0.25})
    with pytest.raises(ReplayError, match=r"output 'y' differs by up to 0\.25, allowed are 0\.2"):
        replay(session, SIGNATURE, GOLDEN, {"y": 0.2})


def test_an_output_that_the_tolerance_does_not_name_must_be_equal() -> None:
    session = FakeSession(lambda inputs: {"y": np.nextafter(inputs["x"] * 2, np.float32(np.inf))})
    with pytest.raises(ReplayError):
        replay(session, SIGNATURE, GOLDEN, {})


def test_a_batch_that_answers_otherwise_than_a_lone_row_does_not_pass() -> None:
    def mean_of_the_batch(inputs: Tensors) -> Tensors:
        return {"y": np.broadcast_to(inputs["x"].mean(axis=0) * 2, inputs["x"].shape)}

    with pytest.raises(ReplayError, match="8 rows: output 'y'"):
        replay(FakeSession(mean_of_the_batch), SIGNATURE, GOLDEN, {"y": 0.01})


@pytest.mark.parametrize(
    "found",
    [
        lambda inputs: {"y": inputs["x"] * np.float32(np.nan)},
        lambda inputs: {"y": inputs["x"] * np.float32(np.inf)},
        lambda inputs: {"y": inputs["x"][:0]},
        lambda inputs: {"y": inputs["x"].astype(np.float64)},
        lambda inputs: {"z": inputs["x"]},
        lambda inputs: 1 / 0,
    ],
    ids=["nan", "infinite", "no rows", "datatype", "name", "raises"],
)
def test_a_session_that_answers_nonsense_does_not_pass(found: Callable[[Tensors], Tensors]) -> None:
    with pytest.raises(ReplayError, match="golden sample"):
        replay(FakeSession(found), SIGNATURE, GOLDEN, {"y": 1e9})


def test_a_golden_nan_must_be_answered_by_a_nan() -> None:
    golden = ({"x": rows(np.nan)}, {"y": rows(np.nan)})
    replay(FakeSession(), SIGNATURE, golden, {})
    with pytest.raises(ReplayError):
        replay(FakeSession(lambda inputs: {"y": np.zeros_like(inputs["x"])}), SIGNATURE, golden, {"y": 1.0})


def test_integers_must_be_equal_whatever_the_tolerance() -> None:
    spec = TensorSpec("y", "INT64", (2,))
    signature = replace(SIGNATURE, outputs=(spec,))
    golden = ({"x": rows(1)}, {"y": np.array([[2, -2]])})
    replay(FakeSession(lambda inputs: {"y": (inputs["x"] * 2).astype(np.int64)}), signature, golden, {})
    with pytest.raises(ReplayError):
        replay(FakeSession(lambda inputs: {"y": (inputs["x"] * 3).astype(np.int64)}), signature, golden, {"y": 9.0})


def test_golden_inputs_of_another_signature_do_not_pass() -> None:
    with pytest.raises(ReplayError, match="cannot be run"):
        replay(FakeSession(), SIGNATURE, ({"x": rows(1).astype(np.float64)}, {"y": rows(2)}), {})


def test_golden_outputs_of_another_shape_do_not_pass() -> None:
    with pytest.raises(ReplayError):
        replay(FakeSession(), SIGNATURE, ({"x": rows(1)}, {"y": rows(2)[:, :1]}), {"y": 99.0})


def test_without_a_batch_axis_the_sample_is_replayed_once_and_whole() -> None:
    signature = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),), max_batch_size=0)
    session = FakeSession(double)
    vector: Array = np.array([1, 2], np.float32)
    replay(session, signature, ({"x": vector}, {"y": vector * 2}), {})
    assert [batch.tolist() for batch in session.batches] == [[1, 2]]


def test_content_that_is_read_back_as_it_was_written_passes() -> None:
    replay_content(toys.content(), {"image": toys.images(3)})


def test_content_of_another_size_than_the_golden_input_does_not_pass() -> None:
    content = toys.content()
    larger = replace(content, input=ImageContent("image", 8, 8, "L"))
    with pytest.raises(ReplayError, match="read as other values"):
        replay_content(larger, {"image": toys.images(1)})


class Buckets(FakeSession):
    """A session that computes some batch sizes in ways of their own."""

    depth = 2
    buckets = (1, 2, 4, 8)

    def begin(self, inputs: Tensors) -> None:
        raise NotImplementedError

    def end(self) -> Tensors:
        raise NotImplementedError


def test_every_batch_size_that_is_computed_in_a_way_of_its_own_is_replayed() -> None:
    session = Buckets()
    replay(session, SIGNATURE, GOLDEN, {})
    assert [len(batch) for batch in session.batches] == [1, 2, 4, 8]
    wrong = Buckets(lambda inputs: {"y": inputs["x"] * (3 if len(inputs["x"]) == 4 else 2)})
    with pytest.raises(ReplayError, match="golden sample, 4 rows: output 'y'"):
        replay(wrong, SIGNATURE, GOLDEN, {})


def test_where_a_precision_is_configured_numbers_are_judged_by_it_and_not_by_the_tolerance() -> None:
    session = FakeSession(lambda inputs: {"y": inputs["x"] * np.float32(2.01)})
    with pytest.raises(ReplayError):
        replay(session, SIGNATURE, GOLDEN, {"y": 1e-6})
    replay(session, SIGNATURE, GOLDEN, {"y": 1e-6}, precision="bf16")
    coarse = FakeSession(lambda inputs: {"y": inputs["x"] * np.float32(2.5)})
    with pytest.raises(ReplayError, match=r"1 rows: output 'y' differs by up to 0\.5, allowed are 0\.25 in bf16"):
        replay(coarse, SIGNATURE, GOLDEN, {}, precision="bf16")


@pytest.mark.parametrize("turned", [False, True])
def test_a_decision_must_be_equal_in_any_precision_and_then_numbers_may_be_coarse(turned: bool) -> None:
    pixels = toys.images(8)
    expected = toys.reference(pixels)

    def coarse(inputs: Tensors) -> Tensors:
        found = toys.reference(inputs["image"])
        found["probabilities"] = np.round(found["probabilities"], 0)
        if turned:
            found["class"] = (found["class"] + 1) % 3
        return found

    session = FakeSession(coarse, dtype=np.uint8)
    if turned:
        with pytest.raises(ReplayError, match="output 'class'"):
            replay(session, toys.signature(), ({"image": pixels}, expected), toys.TOLERANCE, precision="fp16")
    else:
        replay(session, toys.signature(), ({"image": pixels}, expected), toys.TOLERANCE, precision="fp16")
