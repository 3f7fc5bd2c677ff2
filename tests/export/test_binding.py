"""Inputs by name reach the parameters of any forward, and what does not fit is one line with both sides of it."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from export.binding import bind
from export.exporter import ExportError


class By(nn.Module):
    """A module whose forward is the function given."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.forward = function


def places(a: Tensor, /, b: Tensor, *, c: Tensor, scale: float = 1.0) -> object:
    return a, b, c, scale


def keywords(a: Tensor, **others: Tensor) -> object:
    return a, others


def dictionary(batch: dict[str, Tensor], scale: float = 2.0) -> object:
    return batch, scale


def mapping(batch: "Mapping[str, Tensor]", b: Tensor) -> object:
    return batch, b


def a_dictionary_as_text(batch: "dict[str, Nowhere]", **others: Tensor) -> object:  # type: ignore[name-defined]  # noqa: F821
    return batch, others


def unannotated(batch):  # type: ignore[no-untyped-def]
    return batch


def stars(*tensors: Tensor) -> object:
    return tensors


A, B, C = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (places, {"c": C, "b": B, "a": A}, (A, B, C, 1.0)),
        (places, {"a": A, "b": B, "c": C, "scale": B}, (A, B, C, B)),
        (keywords, {"a": A, "z": C, "b": B}, (A, {"z": C, "b": B})),
        (dictionary, {"a": A, "b": B}, ({"a": A, "b": B}, 2.0)),
        (dictionary, {"a": A, "scale": C}, ({"a": A}, C)),
        (mapping, {"a": A, "b": B}, ({"a": A}, B)),
        (a_dictionary_as_text, {"a": A, "b": B}, ({"a": A, "b": B}, {})),
        (unannotated, {"a": A, "b": B}, {"a": A, "b": B}),
        (unannotated, {"batch": A}, A),
        (stars, {"b": B, "a": A}, (B, A)),
    ],
)
def test_inputs_reach_their_parameters(function: Callable[..., object], given: dict[str, Tensor], expected: object) -> None:
    module = By(function)
    assert bind(module, list(given)).call(module, given) == expected


@pytest.mark.parametrize(
    ("function", "names", "message"),
    [
        (places, ["a", "b"], r"input 'c': expected the names that forward takes \(a, b, c, scale\), found a, b"),
        (
            places,
            ["a", "b", "c", "d"],
            r"input 'd': expected the names that forward takes \(a, b, c, scale\), found a, b, c, d",
        ),
        (keywords, ["b"], r"input 'a': expected the names that forward takes \(a\), found b"),
        (mapping, ["a"], r"input 'a': expected the names that forward takes \(batch, b\), found a"),
    ],
)
def test_what_does_not_fit_names_both_sides(function: Callable[..., object], names: list[str], message: str) -> None:
    with pytest.raises(ExportError, match=f"^{message}$"):
        bind(By(function), names)
