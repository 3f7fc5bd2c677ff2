"""ModelSpec: all the project knows of a model. A folder under `models/` offers one as `SPEC`, and every command finds it.

Training, export and their tests work on any spec and know no model by name. Only torch's types are named here, so that
reading a spec's plain fields costs no import of torch.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.content import Content
from models.tasks import Task
from models.tensors import Array, Signature

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Dataset

#: The most epochs, and the most samples a batch, of a recipe: far more than anybody means, far less than torch overflows at.
_MOST = 1_000_000

#: What a recipe may name: algorithms of torch.optim, the course of the learning rate, and bits of a floating-point number.
OPTIMIZERS = ("adamw", "sgd", "rmsprop")
SCHEDULES = ("one_cycle", "cosine", "constant")
PRECISIONS = ("32", "bf16", "16")


class DataError(Exception):
    """A dataset is missing, damaged or not what the model expects; the message names the file and says what to do."""


class RecipeError(ValueError):
    """A hyperparameter is out of its range: `field` names it, `expected` and `found` say how."""

    def __init__(self, field: str, *, expected: str, found: object) -> None:
        super().__init__(f"{field}: expected {expected}, found {found!r}")
        self.field = field
        self.expected = expected
        self.found = found


class UnknownModel(LookupError):
    """No folder under `models/` offers a model of that name."""


@dataclass(frozen=True, slots=True)
class Datasets:
    """The three splits, the same on every call. An item is (inputs by name, target), tensors without a batch axis.

    A dataset that holds its samples in memory may also offer `__getitems__(indices)`: it returns those items gathered at
    once, (inputs by name, targets) with a batch axis, and saves training the work of joining them one by one.
    `checksum` is the SHA-256 of the data they were cut from; a checkpoint records it.
    """

    train: "Dataset[tuple[dict[str, Tensor], Tensor]]"
    validation: "Dataset[tuple[dict[str, Tensor], Tensor]]"
    test: "Dataset[tuple[dict[str, Tensor], Tensor]]"
    checksum: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """The hyperparameters of one training run. Units: epochs, samples a step; the rest as torch.optim names them.

    learning_rate   the largest of the run: the peak of one cycle, the start of a cosine, what a constant schedule keeps
    weight_decay    of matrices and kernels; biases and the scales of normalisations do not decay
    momentum        the share of the last step that the next one keeps; adamw's first beta. One cycle moves it against the
                    learning rate, by 0.05 to either side
    gradient_clip   the largest norm of all gradients together; 0: any
    patience        epochs without a better validation after which training stops; 0: it never stops early
    precision       "32", or mixed with "bf16" or "16" where the device has it
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float = 0.0
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "one_cycle"
    gradient_clip: float = 0.0
    patience: int = 0
    precision: str = "32"

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
                raise RecipeError(field, expected=f"{least} to {_MOST}", found=value)
        # NaN compares false, so it is refused by all of these.
        _check("learning_rate", self.learning_rate, lambda value: 0 < value < math.inf, "a finite number above 0")
        for field in ("weight_decay", "gradient_clip"):
            _check(field, getattr(self, field), lambda value: 0 <= value < math.inf, "a finite number, 0 or more")
        for field in ("label_smoothing", "momentum"):
            _check(field, getattr(self, field), lambda value: 0 <= value < 1, "0 or more and below 1")
        for field, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, field) not in choices:
                raise RecipeError(field, expected=f"one of {', '.join(choices)}", found=getattr(self, field))


def _check(field: str, value: object, holds: Callable[[float], bool], expected: str) -> None:
    """Raise RecipeError unless a value is a number for which something holds; the values of a file are of any type."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
        raise RecipeError(field, expected=expected, found=value)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All the project knows of a model. Every field is data or a plain function.

    task            what the network is trained and scored for
    build           a fresh network; its forward takes the signature's inputs by name, in any number type, and normalises
                    them itself, so that training and serving cannot drift apart
    datasets        the splits, from the folder given or, for None, from the data an installed package carries
    serving_module  what is exported: the network and its last tensor→tensor steps. Its forward takes the signature's
                    inputs, named as there and in that order, and returns a tuple of tensors in the order of the
                    signature's outputs, whose names the exporter then gives them: the one form that torch.onnx,
                    torch.jit.trace and torch.export agree on. It shares the network's weights and switches it to
                    evaluation
    samples         n real held-out inputs as numpy arrays, for parity and the golden sample; the folder as for `datasets`
    augment         random changes to a batch of training inputs, on whatever device it is; None for none
    """

    name: str
    signature: Signature
    content: Content
    task: Task
    recipe: Recipe
    build: "Callable[[], nn.Module]"
    datasets: Callable[[Path | None], Datasets]
    serving_module: "Callable[[nn.Module], nn.Module]"
    samples: Callable[[int, Path | None], dict[str, Array]]
    augment: "Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None" = None

    def __post_init__(self) -> None:
        found = self.signature.output(self.task.output)
        if found is None or found.datatype != "FP32":
            raise ValueError(f"{self.name}: task: expected an FP32 output of the signature, found {self.task.output!r}")


def available() -> list[str]:
    """Return the names of the models in this tree: the folders next to this file that are packages."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))


def find(name: str) -> ModelSpec:
    """Import `models.<name>` and return its SPEC; raise UnknownModel, naming those there are."""
    if name not in available():
        raise UnknownModel(f"model: expected one of {', '.join(available())}, found {name!r}")
    spec: Any = importlib.import_module(f"models.{name}").SPEC  # Any: what a module holds is not typed
    if not isinstance(spec, ModelSpec):
        raise UnknownModel(f"models/{name}: expected SPEC to be a ModelSpec, found {type(spec).__name__}")
    return spec
