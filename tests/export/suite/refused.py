"""Cases of the suite: modules with something wrong in them, of which some formats or all must say what it is."""

import torch
from torch import Tensor, nn

from tests.export.suite.case import MOST, ROWS, UNJUDGED, Case, normal


class Linear(nn.Module):
    """What the others are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)


class Decided(Linear):
    """Python decides by a value."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features) if features.sum() > 0 else -features


class LongOrShort(Linear):
    """Python decides by a length that is declared free: each way is one program."""

    def forward(self, features: Tensor) -> Tensor:
        return features.cumsum(1) if features.shape[1] > 5 else features * 2


class Found(Linear):
    """As many rows out as there are numbers above zero."""

    def forward(self, features: Tensor) -> Tensor:
        return features[features > 0]


class Written(Linear):
    """The input is written to."""

    def forward(self, features: Tensor) -> Tensor:
        features.add_(1)
        return self.linear(features)


class Fixed(Linear):
    """A number where the length of the batch is meant."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).reshape(MOST, 2, 2)


class Counted(Linear):
    """The length of the batch as a number of Python, which a trace keeps."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).reshape(int(features.shape[0]), 2, 2)


class Together(Linear):
    """Rows look at each other: scores over the batch."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).softmax(0)


class Normalised(nn.Module):
    """Statistics of the batch in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.normalisation = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.normalisation(features)


class Forgetful(Linear):
    """Dropout left on."""

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.dropout(self.linear(features), 0.5, training=True)


class Noisy(Linear):
    """Noise by intent."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.linear(features)
        return hidden, hidden + torch.randn_like(hidden)


class Stubborn(Linear):
    """A part that stays in training mode whatever it is told."""

    def train(self, mode: bool = True) -> "Stubborn":
        super().train(mode)
        self.linear.training = True
        return self

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)


class Cancelled(Linear):
    """The difference of two large numbers: rounding is all that is left."""

    def forward(self, features: Tensor) -> Tensor:
        large = self.linear(features) + 1e6
        return (large - 1e6) * 1e3


class Special(Linear):
    """An operator that ONNX does not have."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.special.bessel_j0(self.linear(features))


class Broken(Linear):
    """Answers that are no numbers."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features) / (features[:, :1] - features[:, :1])


class Average(Linear):
    """One number for the whole batch."""

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).mean()


class Texts(Linear):
    """An answer that is no tensor."""

    def forward(self, features: Tensor) -> dict[str, object]:
        return {"scores": self.linear(features), "model": "linear"}


class Distinct(Linear):
    """As many numbers out as are different."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.unique((features * 2).round())


def _case(name: str, build: type[nn.Module], **other: object) -> Case:
    return Case(name, build, lambda: {"features": normal(ROWS, 4)}, **other)  # type: ignore[arg-type]


#: A shape in which rows are told apart, and one row is not enough.
ROWWISE = "as in the inputs, found the shape"

CASES = [
    _case(
        "decided",
        Decided,
        batched=False,
        verdicts={
            "onnx": "a decision in Python on a tensor's value; use torch.where",
            "exported_program": "a decision in Python on a tensor's value; use torch.where",
            "torchscript": "values are off",
            "onnx_fp16": "a decision in Python on a tensor's value; use torch.where",
        },
    ),
    _case(
        "long_or_short",
        LongOrShort,
        dynamic={"features": [1]},
        verdicts={
            "onnx": "axis 1 at length 9: output: .* values are off",
            "exported_program": r"axis 1 at length 9: output: cannot run .* to be <= 5, but got 9",
            "torchscript": "axis 1 at length 9: output: .* values are off",
        },
    ),
    _case("found", Found, refused=ROWWISE),
    # The graph of an ONNX file has no memory to write to: what it computes is the answer, and that is right.
    _case(
        "written",
        Written,
        verdicts=dict.fromkeys(("exported_program", "torchscript"), "writes to its input 'features'; have it write to"),
    ),
    _case("fixed", Fixed, refused="the module runs on 8 rows and not on 1: .*; look for a number where x.shape"),
    _case(
        "counted",
        Counted,
        verdicts={
            # onnx passes: torch's exporter for it looks behind the number in another of its ways.
            "exported_program": "the module fixes the batch axis to 3, the 3 rows it was traced with",
            "torchscript": "cannot run on batches of 1: .* is invalid for input of size 4",
        },
    ),
    _case("together", Together, batched=False),
    _case("normalised", Normalised, refused="the module runs on 8 rows and not on 1: .* Expected more than 1 value"),
    # Their outputs are marked as random, and judged by shape, datatype and finiteness.
    _case("forgetful", Forgetful),
    _case("noisy", Noisy),
    _case("stubborn", Stubborn, refused="linear: expected eval mode after module.eval.., found training mode"),
    _case("cancelled", Cancelled, refused=f"ill-conditioned: the eager model differs from itself|{UNJUDGED}"),
    _case(
        "special",
        Special,
        verdicts={
            "onnx": "no counterpart in ONNX; use other operators, or leave onnx out",
            "onnx_fp16": "no counterpart in ONNX; use other operators, or leave onnx out",
        },
    ),
    _case("broken", Broken, refused=f"not finite: 89 of 192 values|{UNJUDGED}"),
    _case("average", Average, refused=ROWWISE),
    _case("texts", Texts, refused="output 'model': expected a tensor, found str"),
    _case("distinct", Distinct, refused="expected one shape for inputs of one shape, .* so it depends on values"),
]
