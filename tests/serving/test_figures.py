import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.block_bytes import NUMBERS
from serving.errors import all_errors
from serving.figures import ENDS, OK, ROWS, SECONDS, Figures, Layout, outcome_of


def numbers() -> "memoryview[float]":
    return memoryview(bytearray(NUMBERS * 8)).cast("d")


def test_every_error_has_a_place_of_its_own() -> None:
    assert {OK, *(error.code for error in all_errors())} == set(ENDS)
    assert len({Layout.ended(end) for end in ENDS}) == len(ENDS)
    assert (outcome_of(OK), outcome_of("overloaded"), outcome_of("inference_failed")) == ("ok", "refused", "failed")
    assert outcome_of("cancelled") == "cancelled"


def test_a_block_holds_the_sizes_of_many_batches() -> None:
    assert Layout.MOST_SIZES >= 256
    assert Layout.SIZES + Layout.MOST_SIZES * Layout.SIZE_NUMBERS <= NUMBERS


@given(st.lists(st.floats(0, 20)))
def test_a_histogram_counts_every_value_in_the_first_bucket_that_holds_it(values: list[float]) -> None:
    row = numbers()
    for value in values:
        Layout.REQUEST.observe(row, value)
    found = Layout.REQUEST.read(list(row))
    assert found.count == len(values)
    assert math.isclose(found.sum, sum(values), abs_tol=1e-9)
    for place, bound in enumerate(SECONDS):
        assert sum(found.counts[: place + 1]) == sum(value <= bound for value in values)


@pytest.mark.parametrize(("rows", "bucket"), [(1, 0), (2, 1), (3, 2), (256, 8), (257, 9)])
def test_rows_at_the_edge_of_a_bucket_are_in_it(rows: int, bucket: int) -> None:
    row = numbers()
    Layout.BATCH_ROWS.observe(row, float(rows))
    counts = Layout.BATCH_ROWS.read(list(row)).counts
    assert [place for place, count in enumerate(counts) if count] == [bucket]
    assert len(counts) == len(ROWS) + 1


def test_processes_add_up_and_gauges_count_only_of_those_that_live() -> None:
    row = numbers()
    row[Layout.ended(OK)] = 3
    row[Layout.QUEUED_ROWS] = 5
    row[Layout.IN_FLIGHT] = 1
    row[Layout.LAST] = 1000
    row[Layout.SIZES], row[Layout.SIZES + 1], row[Layout.SIZES + 3] = 4, 2, 0.5
    figures = Figures()
    figures.add(list(row), live=True)
    figures.add(list(row), live=False)
    assert figures.ended == {OK: 6}
    assert (figures.queued_rows, figures.in_flight, figures.last) == (5, 1, 1000)
    assert (figures.sizes[4].batches, figures.sizes[4].run) == (4, 1.0)


def test_no_number_has_two_meanings() -> None:
    places = [
        range(Layout.ENDED, Layout.ENDED + len(ENDS)),
        range(Layout.RETIRED, Layout.RETIRED + len(ENDS)),
        *(range(one.start, one.stop) for one in (Layout.REQUEST, Layout.QUEUE, Layout.COMPUTE, Layout.BATCH_ROWS)),
        *(range(one, one + 1) for one in (Layout.JOIN, Layout.RUN, Layout.SPLIT, Layout.FAILED, Layout.LAST)),
        range(Layout.QUEUED_ROWS, Layout.QUEUED_ROWS + 1),
        range(Layout.IN_FLIGHT, Layout.IN_FLIGHT + 1),
        range(Layout.DROPPED, Layout.DROPPED + 1),
        range(Layout.LOAD_FAILURES, Layout.LOAD_FAILURES + 1),
        range(Layout.SIZES, Layout.SIZES + Layout.MOST_SIZES * Layout.SIZE_NUMBERS),
    ]
    taken = [number for place in places for number in place]
    assert taken == list(range(len(taken)))
    assert NUMBERS - len(taken) < Layout.SIZE_NUMBERS
