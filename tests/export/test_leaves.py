"""Answers of any shape come out as tensors under legal names."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from export.exporter import ExportError
from export.leaves import flattened, tensor

T = torch.ones(2)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor | None


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    pair: Pair


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (T, ["output"]),
        ((T, T), ["output_0", "output_1"]),
        ([T, None, T], ["output_0", "output_2"]),
        ({"b": T, "a": T}, ["b", "a"]),
        (OrderedDict(logits=T, loss=None), ["logits"]),
        ({"hidden": (T, {"deep": [T]})}, ["hidden_0", "hidden_1_deep_0"]),
        (Pair(T, None), ["left"]),
        (Answer(T, (T, T), Pair(T, T)), ["logits", "hidden_0", "hidden_1", "pair_left", "pair_right"]),
        ({"a.b-c": T, "ö": T, 3: T, "": T}, ["a_b_c", "_", "output_3", "output"]),
    ],
)
def test_every_tensor_has_a_name(answer: object, names: list[str]) -> None:
    assert list(flattened(answer)) == names


def test_what_is_no_tensor_is_told_where_it_is_wanted() -> None:
    parts = flattened({"logits": T, "extra": {"loss": 0.5}})
    assert tensor("logits", parts["logits"]) is T
    with pytest.raises(ExportError, match=r"^output 'extra_loss': expected a tensor, found float; have the module return"):
        tensor("extra_loss", parts["extra_loss"])
    with pytest.raises(
        ExportError, match=r"^output 'x': expected a dense tensor, found torch\.sparse_coo; call \.to_dense\(\)"
    ):
        tensor("x", torch.eye(2).to_sparse())


@pytest.mark.parametrize("answer", [None, (), {}, [None, {"a": None}]])
def test_an_answer_without_any_tensor_is_refused(answer: object) -> None:
    with pytest.raises(ExportError, match=r"^the module: expected one or more tensors as its answer, found \w+$"):
        flattened(answer)


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ExportError, match=r"^output 'a_b': expected one tensor of this name, found two"):
        flattened({"a": {"b": T}, "a_b": T})
