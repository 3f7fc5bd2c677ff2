import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tensors import Signature, TensorSpec
from serving.backends.buckets import bucket_for, buckets_of, doubling


def signature(most: int, shape: tuple[int | None, ...] = (3,)) -> Signature:
    return Signature((TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),), most)


@pytest.mark.parametrize(
    ("most", "stated", "buckets"),
    [
        (1, None, (1,)),
        (2, None, (1, 2)),
        (8, None, (1, 2, 4, 8)),
        (12, None, (1, 2, 4, 8, 12)),
        (0, None, (1,)),
        (8, (), ()),
        (0, (), ()),
        (8, (3,), (3, 8)),
        (8, (8, 4), (4, 8)),
        (8, (64, 2), (2, 8)),
        (0, (4,), (1,)),
    ],
)
def test_buckets_double_or_are_stated_and_end_with_the_largest_batch(
    most: int, stated: tuple[int, ...] | None, buckets: tuple[int, ...]
) -> None:
    assert buckets_of(signature(most), stated) == buckets


def test_where_an_axis_of_an_input_is_free_there_are_none() -> None:
    assert buckets_of(signature(8, (None,)), None) == ()
    assert buckets_of(signature(0, (2, None)), (1,)) == ()


@given(st.integers(1, 65_536).flatmap(lambda most: st.tuples(st.just(most), st.integers(1, most))))
def test_a_batch_takes_the_smallest_bucket_that_holds_it_and_is_at_worst_doubled(sizes: tuple[int, int]) -> None:
    most, rows = sizes
    buckets = buckets_of(signature(most), None)
    found = bucket_for(rows, buckets)
    assert found is not None
    assert rows <= found < 2 * rows
    assert not [bucket for bucket in buckets if rows <= bucket < found]
    assert len(buckets) <= 17


def test_a_batch_that_no_bucket_holds_has_none() -> None:
    assert bucket_for(9, doubling(8)) is None
    assert bucket_for(1, ()) is None
