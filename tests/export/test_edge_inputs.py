import numpy as np
import pytest

from export import edge_inputs
from models.tensors import DTYPES

FLOATS = ["zeros", "±0", "denormals", "large", "extremes", "NaN", "one NaN", "one ∞", "one −∞"]


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name not in ("BYTES", "BF16")])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_every_datatype_has_edges_of_the_samples_shape(datatype: str, shape: tuple[int, ...]) -> None:
    sample = np.ones(shape, DTYPES[datatype])
    found = dict(edge_inputs.edges(sample))
    for values in found.values():
        assert values.shape == shape
        assert values.dtype == sample.dtype
    again = dict(edge_inputs.edges(sample))
    assert all(values.tobytes() == again[name].tobytes() for name, values in found.items())
    assert (sample == 1).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fractions(dtype: type) -> None:
    found = dict(edge_inputs.edges(np.ones((4, 8), dtype)))
    assert list(found) == FLOATS
    limits = np.finfo(dtype)
    assert set(np.signbit(found["±0"]).ravel()) == {True, False}
    assert not found["±0"].any()
    assert (np.abs(found["denormals"]) < limits.tiny).all()
    assert found["denormals"].all()
    assert set(np.abs(found["extremes"]).ravel()) == {limits.max}
    assert np.isfinite(found["large"] ** 2).all()
    assert np.isnan(found["NaN"]).all()
    for name in ("one NaN", "one ∞", "one −∞"):
        assert np.count_nonzero(~np.isfinite(found[name])) == 1


def test_whole_numbers_and_truths() -> None:
    assert {name: int(values[0]) for name, values in edge_inputs.edges(np.ones(1, np.int8))} == {
        "zeros": 0, "smallest": -128, "largest": 127,
    }  # fmt: skip
    assert [name for name, _ in edge_inputs.edges(np.ones(1, np.uint8))] == ["zeros", "largest"]
    assert [name for name, _ in edge_inputs.edges(np.ones(1, np.bool_))] == ["all false", "all true"]


def test_an_input_without_elements_has_none() -> None:
    assert list(edge_inputs.edges(np.ones((0, 3), np.float32))) == []
