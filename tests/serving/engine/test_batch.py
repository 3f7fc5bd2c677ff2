from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tensors import Array, Signature, Tensors, TensorSpec
from serving.engine.batch import OutputError, check_outputs, join, split

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (2,)),),
    outputs=(TensorSpec("y", "FP32", (2,)), TensorSpec("class", "INT64", ())),
    max_batch_size=8,
)


def never(name: str, shape: tuple[int, ...]) -> Array:
    raise AssertionError(f"{name} {shape} was allocated")


def outputs(rows: int = 3) -> dict[str, Array]:
    return {"y": np.zeros((rows, 2), np.float32), "class": np.zeros(rows, np.int64)}


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Array]]:
    """Requests of equal shape with one to three inputs, each element different from all others."""
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=8))
    tails = draw(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3))
    dtypes = [draw(st.sampled_from([np.float32, np.int64, np.uint16])) for _ in tails]
    serial = 0
    made = []
    for count in counts:
        inputs: dict[str, Array] = {}
        for index, (tail, dtype) in enumerate(zip(tails, dtypes, strict=True)):
            size = int(np.prod([count, *tail]))
            inputs[f"input{index}"] = np.arange(serial, serial + size).astype(dtype).reshape(count, *tail)
            serial += size
        made.append(inputs)
    return made


@given(requests())
def test_splitting_what_was_joined_gives_every_request_its_own_rows(made: list[dict[str, Array]]) -> None:
    counts = [len(inputs["input0"]) for inputs in made]
    dtypes = {name: array.dtype for name, array in made[0].items()}
    joined = join(made, sum(counts), lambda name, shape: np.empty(shape, dtypes[name]))
    assert all(len(array) == sum(counts) for array in joined.values())
    parts = list(split(joined, counts))
    assert len(parts) == len(made)
    for part, inputs in zip(parts, made, strict=True):
        assert part.keys() == inputs.keys()
        for name, array in inputs.items():
            np.testing.assert_array_equal(part[name], array, strict=True)


def test_a_lone_request_is_not_copied() -> None:
    inputs = {"x": np.ones((3, 2), np.float32)}
    joined = join([inputs], 3, never)
    assert joined["x"] is inputs["x"]
    assert next(split(joined, [3]))["x"] is inputs["x"]


def test_joining_copies_once_into_memory_that_the_session_gave() -> None:
    memory = np.full((3, 2), np.nan, np.float32)
    made: Sequence[Tensors] = [{"x": np.ones((1, 2), np.float32)}, {"x": np.zeros((2, 2), np.float32)}]
    asked: list[tuple[str, tuple[int, ...]]] = []

    def allocate(name: str, shape: tuple[int, ...]) -> Array:
        asked.append((name, shape))
        return memory

    joined = join(made, 3, allocate)
    assert joined["x"] is memory
    assert asked == [("x", (3, 2))]
    assert memory.tolist() == [[1, 1], [0, 0], [0, 0]]


def test_splitting_copies_nothing() -> None:
    batch = outputs(3)
    for part in split(batch, [1, 2]):
        for name, array in part.items():
            assert np.shares_memory(array, batch[name])


def test_no_two_requests_share_memory_after_the_split() -> None:
    first, second = split(outputs(3), [1, 2])
    assert not np.shares_memory(first["y"], second["y"])


def test_read_only_inputs_can_be_joined_and_stay_as_they_were() -> None:
    inputs = {"x": np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32).reshape(2, 2)}
    joined = join([inputs, inputs], 4, lambda _, shape: np.empty(shape, np.float32))
    assert joined["x"].tolist() == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_right_outputs_pass_the_check() -> None:
    check_outputs(SIGNATURE, outputs(3), 3)


def test_outputs_that_nobody_declared_are_ignored() -> None:
    check_outputs(SIGNATURE, {**outputs(3), "extra": np.zeros(1)}, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y": np.zeros((2, 2), np.float32)}, "expected 3 rows, found 2"),
        ({"y": np.zeros((4, 2), np.float32)}, "expected 3 rows, found 4"),
        ({"y": np.zeros((0, 2), np.float32)}, "expected 3 rows, found 0"),
        ({"y": np.zeros((3, 3), np.float32)}, r"expected shape \[-1, 2\], found shape \[3, 3\]"),
        ({"y": np.zeros((3, 2, 1), np.float32)}, "expected shape"),
        ({"y": np.zeros(3, np.float32)}, "expected shape"),
        ({"y": np.zeros((), np.float32)}, "expected shape"),
        ({"y": np.zeros((3, 2), np.float64)}, "expected datatype FP32, found dtype float64"),
        ({"class": np.zeros(3, np.int32)}, "expected datatype INT64, found dtype int32"),
        ({"class": np.zeros((3, 1), np.int64)}, "expected shape"),
    ],
)
def test_outputs_of_other_rows_shape_or_datatype_are_refused(wrong: dict[str, Array], message: str) -> None:
    with pytest.raises(OutputError, match=message):
        check_outputs(SIGNATURE, {**outputs(3), **wrong}, 3)


@pytest.mark.parametrize("name", ["y", "class"])
def test_a_missing_output_is_refused_by_its_name(name: str) -> None:
    found = outputs(3)
    del found[name]
    with pytest.raises(OutputError, match=f"'{name}' is missing"):
        check_outputs(SIGNATURE, found, 3)


def test_without_a_batch_axis_the_whole_shape_is_checked() -> None:
    signature = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", (2, 1)),), max_batch_size=0)
    check_outputs(signature, {"y": np.zeros((2, 1), np.float32)}, 1)
    with pytest.raises(OutputError):
        check_outputs(signature, {"y": np.zeros((1, 2, 1), np.float32)}, 1)


@pytest.mark.parametrize("found", [None, [[1.0, 2.0]], "y", 5])
def test_what_is_no_array_is_not_taken_for_one(found: Any) -> None:  # Any: whatever a runtime may give
    with pytest.raises((OutputError, AttributeError)):
        check_outputs(SIGNATURE, {**outputs(1), "y": found}, 1)
