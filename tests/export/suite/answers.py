"""Cases of the suite: modules of which the inputs or answers are something else than one float tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.export.modules import Ranker
from tests.export.suite.case import ROWS, Case, normal, whole


class Nested(nn.Module):
    """A dictionary that holds a tuple and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, features: Tensor) -> dict[str, object]:
        hidden = self.linear(features)
        return {"hidden": hidden, "bounds": (hidden.amin(1), hidden.amax(1)), "of": {"sign": hidden.sign()}}


@dataclass
class Answer:
    logits: Tensor
    label: Tensor


class Described(nn.Module):
    """A dataclass, as some libraries return."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, features: Tensor) -> Answer:
        logits = self.linear(features)
        return Answer(logits, logits.argmax(-1))


class Best(nn.Module):
    """The three best of ten, their places, and whether the best is any good: floats, integers and a boolean."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 10)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.linear(features).topk(3)
        return found.values, found.indices, found.values[:, 0] > 0.5


class Masked(nn.Module):
    """A boolean input that says which numbers count."""

    def __init__(self) -> None:
        super().__init__()
        self.instead = nn.Parameter(torch.randn(6))
        self.linear = nn.Linear(6, 2)

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        return self.linear(torch.where(known, features, self.instead))


class Counts(nn.Module):
    """Integers only: how often each of five kinds is in a row, and which is the first."""

    def forward(self, kinds: Tensor) -> tuple[Tensor, Tensor]:
        of = kinds.unsqueeze(2) == torch.arange(5)
        return of.sum(1), kinds.amin(1)


class Branches(nn.Module):
    """A choice by value in the graph, as every format wants it: torch.where."""

    def __init__(self) -> None:
        super().__init__()
        self.often, self.seldom = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, features: Tensor) -> Tensor:
        return torch.where(features.sum(1, keepdim=True) > 0, self.often(features), self.seldom(features).exp())


class Keyed(nn.Module):
    """A dictionary in, as some data pipelines have it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.linear(torch.cat([batch["numbers"], batch["others"]], 1))


class Talking(nn.Module):
    """A module that prints: kept off the report's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, features: Tensor) -> Tensor:
        print("forward!")  # noqa: T201 - what this module is here for
        return self.linear(features)


class Scaled(nn.Module):
    """No batch axis: a whole sound and a gain in, as many samples out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, sound: Tensor, gain: Tensor) -> Tensor:
        return (sound * gain * self.weight).cumsum(0)


CASES = [
    Case("two_of_each", Ranker, lambda: {"features": normal(ROWS, 4), "kind": whole(7, ROWS)}),
    Case("nested", Nested, lambda: {"features": normal(ROWS, 5)}),
    Case("dataclass", Described, lambda: {"features": normal(ROWS, 5)}),
    Case("best_three", Best, lambda: {"features": normal(ROWS, 6)}),
    Case("boolean_input", Masked, lambda: {"features": normal(ROWS, 6), "known": whole(2, ROWS, 6).astype(bool)}),
    Case(
        "whole_numbers",
        Counts,
        lambda: {"kinds": whole(5, ROWS, 9)},
        verdicts={"onnx_fp16": "expected weights in float32, found none"},
    ),
    Case("branches", Branches, lambda: {"features": normal(ROWS, 4)}),
    Case("dictionary_input", Keyed, lambda: {"numbers": normal(ROWS, 4), "others": normal(ROWS, 3, seed=1)}),
    Case("talking", Talking, lambda: {"features": normal(ROWS, 3)}),
    Case(
        "no_batch_axis",
        Scaled,
        lambda: {"sound": normal(11, 3), "gain": normal(1)},
        dynamic={"sound": [0]},
        max_batch_size=0,
        batched=False,
    ),
]
