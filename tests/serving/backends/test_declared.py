import pytest

from models.tensors import TensorSpec
from serving.backends.declared import DeclarationError, Declared, DeclaredTensor

Axes = tuple[int | str | None, ...]


def declared(axes: Axes, outputs: Axes = ("N",)) -> Declared:
    return Declared((DeclaredTensor("x", "FP32", axes),), (DeclaredTensor("y", "INT64", outputs),))


def test_a_first_axis_becomes_the_batch_axis_or_stays_in_the_shape() -> None:
    both = declared(("N", 3, None), (None, "W"))
    batched, whole = both.signature(8), both.signature(0)
    assert (batched.max_batch_size, batched.inputs) == (8, (TensorSpec("x", "FP32", (3, None)),))
    assert batched.outputs == (TensorSpec("y", "INT64", (None,)),)
    assert (whole.max_batch_size, whole.inputs) == (0, (TensorSpec("x", "FP32", (None, 3, None)),))


@pytest.mark.parametrize(
    ("axes", "outputs"),
    [((3, "N"), ("N",)), (("N", "N"), ("N",)), (("N", 3), ("N", "N")), ((), ("N",)), ((1, 3), (1, 3)), (("N",), ())],
)
def test_without_a_free_first_axis_everywhere_there_are_no_rows(axes: Axes, outputs: Axes) -> None:
    assert declared(axes, outputs).signature(0).max_batch_size == 0
    with pytest.raises(DeclarationError, match=r"max_batch_size: expected 0, for '.' has .*; found 32"):
        declared(axes, outputs).signature(32)


def test_a_first_axis_of_length_1_is_a_batch_of_one_row() -> None:
    fixed = declared((1, 3), (1,))
    assert fixed.signature(1).inputs == (TensorSpec("x", "FP32", (3,)),)
    with pytest.raises(DeclarationError, match=r"shape \[1, 3\]; found 2"):
        fixed.signature(2)


def test_names_that_clash_or_are_missing_are_refused() -> None:
    twice = (DeclaredTensor("x", "FP32", ()), DeclaredTensor("x", "FP32", ()))
    for wrong in (Declared(twice, twice[:1]), Declared((), twice[:1])):
        with pytest.raises(DeclarationError, match="inputs: expected one or more tensors with different names"):
            wrong.signature(0)


def test_what_is_stated_may_fix_a_free_length_of_an_input_and_of_nothing_else() -> None:
    own = declared(("N", None, 3), ("N", "W"))
    stated = Declared((DeclaredTensor("x", "FP32", (None, 5, None)),), (DeclaredTensor("y", "INT64", (None, 2)),))
    assert own.narrowed(stated, place="c").inputs[0].axes == ("N", 5, 3)
    assert own.narrowed(stated, place="c").outputs == own.outputs
    assert own.narrowed(Declared((), ()), place="c") == own


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        (DeclaredTensor("z", "FP32", (None, 3)), "c: input: expected some of x, found 'z'"),
        (DeclaredTensor("x", "FP64", (None, 3)), "c: x: expected datatype FP32, found FP64"),
        (DeclaredTensor("x", "FP32", (None, 4)), r"c: x: expected dims within the model's shape \[-1, 3\], found \[-1, 4\]"),
        (DeclaredTensor("x", "FP32", (3,)), r"found \[3\]"),
    ],
)
def test_what_is_stated_and_not_so_is_refused(stated: DeclaredTensor, why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        declared(("N", 3)).narrowed(Declared((stated,), ()), place="c")
