"""The order in which a batch's way happens, on a device that is as late as it may be and on one that is always ready."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tensors import Array, Signature, TensorSpec
from serving.backends.base import DeviceLost, PipelinedSession, Session
from serving.backends.pipeline import Lanes, Pipeline
from serving.engine.batch import join
from tests.serving.backends.lazy_device import LazyEvent, LazyStream, lanes, memory
from tests.serving.sessions import SIGNATURE, rows


def double(given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    return [given[0] * 2]


@pytest.fixture(params=[True, False], ids=["late", "at once"])
def session(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(SIGNATURE, lanes(late=request.param), double)


def test_it_is_a_session_and_one_that_overlaps(session: Session) -> None:
    assert isinstance(session, PipelinedSession)
    assert session.depth == 2


def test_a_batch_is_answered(session: Pipeline) -> None:
    answers = session.run({"x": rows(1, 2, 3)})
    np.testing.assert_array_equal(answers["y"], rows(1, 2, 3) * 2)
    assert answers["y"].flags.owndata


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 8)), max_size=30), st.booleans())
def test_whatever_the_order_every_batch_gets_its_own_answer(steps: list[tuple[bool, bool, int]], late: bool) -> None:
    session = Pipeline(SIGNATURE, lanes(late=late), double)
    begun: list[Array] = []
    answered: list[tuple[Array, Array]] = []
    for number, (begins, joined, count) in enumerate(steps):
        if begins and len(begun) < session.depth:
            array = rows(*range(100 * number, 100 * number + count))
            given = array
            if joined:
                given = session.allocate("x", array.shape)
                given[:] = array
            session.begin({"x": given})
            if not joined:
                given[:] = -1  # the caller's again: what began is on its way
            begun.append(rows(*range(100 * number, 100 * number + count)))
        elif begun:
            answered.append((session.end()["y"], begun.pop(0)))
    answered += [(session.end()["y"], array) for array in begun]
    for found, array in answered:
        np.testing.assert_array_equal(found, array * 2)


def test_the_next_batch_is_copied_while_one_is_computed() -> None:
    device = lanes()
    session = Pipeline(SIGNATURE, device, double)
    session.begin({"x": rows(1)})
    session.begin({"x": rows(2)})
    assert isinstance(device.copies, LazyStream)
    assert isinstance(device.compute, LazyStream)
    device.copies.synchronize()
    assert (device.copies.done, device.compute.done) == (2, 0), "neither copy waits for anything to be computed"
    np.testing.assert_array_equal(session.end()["y"], rows(1) * 2)
    assert device.compute.done == 2, "its own wait and work, and nothing of the next one's"
    np.testing.assert_array_equal(session.end()["y"], rows(2) * 2)


def test_joining_writes_where_the_device_reads_and_nothing_is_copied_again(
    session: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [{"x": rows(1, 2)}, {"x": rows(3)}]
    joined = join(requests, 3, session.allocate)

    def copied(*_: object, **__: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(np, "copyto", copied)
    session.begin(joined)
    np.testing.assert_array_equal(session.end()["y"], rows(1, 2, 3) * 2)
    with pytest.raises(AssertionError, match="copied"):
        session.begin({"x": rows(1)})


def test_memory_is_handed_out_again_until_a_batch_begins_in_it_and_when_that_has_ended(session: Pipeline) -> None:
    first = session.allocate("x", (3, 2))
    assert np.shares_memory(first, session.allocate("x", (3, 2)))
    first[:] = rows(1, 2, 3)
    session.begin({"x": first})
    second = session.allocate("x", (3, 2))
    assert not np.shares_memory(first, second)
    second[:] = rows(4, 5, 6)
    session.begin({"x": second})
    with pytest.raises(RuntimeError, match="at most 2 batches under way"):
        session.allocate("x", (3, 2))
    with pytest.raises(RuntimeError, match="at most 2 batches under way"):
        session.begin({"x": rows(1)})
    np.testing.assert_array_equal(session.end()["y"], rows(1, 2, 3) * 2)
    assert np.shares_memory(first, session.allocate("x", (3, 2)))
    np.testing.assert_array_equal(session.end()["y"], rows(4, 5, 6) * 2)


def test_a_part_of_the_staging_memory_is_an_input_like_any_other(session: Pipeline) -> None:
    staged = session.allocate("x", (4, 2))
    staged[:] = rows(1, 2, 3, 4)
    np.testing.assert_array_equal(session.run({"x": staged[1:]})["y"], rows(2, 3, 4) * 2)


def test_running_needs_an_empty_pipeline_and_ending_one_that_is_not(session: Pipeline) -> None:
    with pytest.raises(RuntimeError, match="found none begun"):
        session.end()
    session.begin({"x": rows(1)})
    with pytest.raises(RuntimeError, match="expected no batch under way, found 1"):
        session.run({"x": rows(2)})
    session.end()


def test_a_batch_that_fails_at_its_beginning_leaves_the_others_alone() -> None:
    session = Pipeline(SIGNATURE, lanes(late=False), _picky)
    session.begin({"x": rows(1)})
    with pytest.raises(ValueError, match="thirteen"):
        session.begin({"x": rows(13)})
    np.testing.assert_array_equal(session.end()["y"], rows(1) * 2)
    np.testing.assert_array_equal(session.run({"x": rows(3)})["y"], rows(3) * 2)


def test_a_batch_that_fails_at_its_end_has_ended_and_leaves_the_others_alone() -> None:
    session = Pipeline(SIGNATURE, lanes(), _picky)
    session.begin({"x": rows(13)})
    session.begin({"x": rows(2)})
    with pytest.raises(ValueError, match="thirteen"):
        session.end()
    np.testing.assert_array_equal(session.end()["y"], rows(2) * 2)
    np.testing.assert_array_equal(session.run({"x": rows(3)})["y"], rows(3) * 2)


def _picky(given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    if (given[0] == 13).any():
        raise ValueError("thirteen")
    return double(given)


class Refusing(LazyStream):
    """Refuses work, as torch does where a module raises before anything is launched."""

    def submit(self, work: object) -> None:
        raise ValueError("refused")

    def wait(self, event: LazyEvent) -> None:
        pass


def test_where_beginning_fails_no_copy_is_left_on_its_way_out_of_memory_that_is_free_again() -> None:
    copies = LazyStream()
    session = Pipeline(SIGNATURE, Lanes(copies, Refusing(), memory, memory), double)
    with pytest.raises(ValueError, match="refused"):
        session.begin({"x": rows(1)})
    assert (copies.done, len(copies.work)) == (1, 0)
    session.allocate("x", (1, 2))


class Broken(LazyStream):
    """Cannot be waited for, as a GPU after an access outside of its memory."""

    def reach(self, position: int) -> None:
        raise RuntimeError("device-side assert")


def test_a_device_that_is_lost_says_so_to_whoever_comes_next() -> None:
    session = Pipeline(SIGNATURE, Lanes(LazyStream(), Broken(), memory, memory), double)
    session.begin({"x": rows(1)})
    with pytest.raises(RuntimeError, match="device-side assert"):
        session.end()
    with pytest.raises(DeviceLost, match="nothing any more in this process"):
        session.begin({"x": rows(1)})
    session.close()


def test_every_kind_of_tensor_goes_over_and_back(session: Pipeline) -> None:
    specs = [TensorSpec(name, name, ()) for name in ("BOOL", "INT64", "UINT16", "FP16", "BF16", "FP64")]
    signature = Signature(tuple(specs), tuple(specs), 8)
    same = Pipeline(signature, lanes(), lambda given: given)
    inputs = {spec.name: np.array([0, 1, 3]).astype(spec.dtype) for spec in specs}
    answers = same.run(inputs)
    for name, array in inputs.items():
        assert answers[name].dtype == array.dtype
        np.testing.assert_array_equal(answers[name], array)


def test_a_scalar_without_a_batch_axis_goes_through() -> None:
    spec = TensorSpec("x", "FP32", ())
    session = Pipeline(Signature((spec,), (spec,), 0), lanes(), lambda given: [given[0] + 1])
    assert float(session.run({"x": np.array(2, np.float32)})["x"]) == 3.0


def test_an_array_of_another_type_is_not_silently_rounded(session: Pipeline) -> None:
    with pytest.raises(TypeError):
        session.begin({"x": rows(1).astype(np.float64)})


def test_closing_waits_for_what_is_under_way() -> None:
    device = lanes()
    session = Pipeline(SIGNATURE, device, double)
    session.begin({"x": rows(1)})
    session.close()
    assert isinstance(device.compute, LazyStream)
    assert not device.compute.work
