import numpy as np
import pytest

from models.tensors import Array, TensorSpec
from serving.engine.decided import decides, is_number, unlike
from tests import toys
from tests.serving.sessions import SIGNATURE

NUMBER = TensorSpec("y", "FP32", (2,))
WANTED = np.array([[4, -8], [0, 1]], np.float32)


def test_integers_booleans_and_texts_are_decisions() -> None:
    assert [is_number(TensorSpec("y", name, ())) for name in ("FP16", "FP32", "FP64", "BF16")] == [True] * 4
    assert [is_number(TensorSpec("y", name, ())) for name in ("INT64", "BOOL", "BYTES", "UINT16")] == [False] * 4
    assert (decides(toys.signature()), decides(SIGNATURE)) == (True, False)


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", 0.125), ("fp16", 0.125), ("bf16", 1.0)])
def test_without_decisions_numbers_are_held_within_roundings_of_the_largest(precision: str, allowed: float) -> None:
    assert unlike(NUMBER, WANTED + np.float32(allowed), WANTED, precision=precision, decided=False) is None
    fault = unlike(NUMBER, WANTED + np.float32(allowed * 1.01), WANTED, precision=precision, decided=False)
    assert fault is not None
    assert f"allowed are {allowed:.3g} in {precision}" in fault


def test_with_decisions_they_are_the_judge() -> None:
    assert unlike(NUMBER, WANTED + np.float32(5), WANTED, precision="tf32", decided=True) is None


@pytest.mark.parametrize(
    "found",
    [WANTED.astype(np.float16), WANTED[:1], WANTED * np.float32(np.nan), np.where(WANTED == 1, np.float32(np.inf), WANTED)],
    ids=["type", "shape", "NaN", "infinite"],
)
def test_type_shape_and_finiteness_are_never_coarse(found: Array) -> None:
    assert unlike(NUMBER, found, WANTED, precision="bf16", decided=True) is not None


def test_what_was_not_finite_need_not_be() -> None:
    wanted = np.array([np.nan, np.inf, 1], np.float32)
    found = np.array([np.nan, 3, 1], np.float32)
    assert unlike(NUMBER, found, wanted, precision="bf16", decided=False) is None
    nothing = np.array([np.nan], np.float32)
    assert unlike(NUMBER, nothing, nothing, precision="bf16", decided=False) is None


def test_bf16_is_read_out_of_its_bits() -> None:
    spec = TensorSpec("y", "BF16", ())
    one, next_to_one, two = (np.array([bits], np.uint16) for bits in (0x3F80, 0x3F81, 0x4000))
    assert unlike(spec, next_to_one, one, precision="bf16", decided=False) is None
    assert unlike(spec, two, one, precision="bf16", decided=False) is not None
