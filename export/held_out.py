"""The inputs on which versions are compared: the model's held-out split, where it is at hand, or golden samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models import spec as specs
from models.repository import ModelVersion
from models.spec import DataError, UnknownModel
from models.tensors import Array, Signature, SignatureError, Tensors

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset


class Unavailable(Exception):
    """The held-out split cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs with a batch axis, or for a model without one, several requests. `targets` are the true decisions, if known."""

    requests: tuple[Tensors, ...]
    targets: Array | None
    source: str

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.requests) if self.targets is None else len(self.targets)


def held_out_split(model: str, signature: Signature, *, most: int, data_dir: Path | None) -> Samples:
    """Return samples of the test split with their true classes; raise Unavailable.

    The data are read by the code of the model's folder in this tree; versions bring none.
    """
    if model not in specs.available():
        raise Unavailable(f"there is no folder models/{model} with its data in this tree")
    try:
        split = specs.find(model).datasets(data_dir).test
        count = min(most, len(split))  # type: ignore[arg-type]  # torch's Dataset does not promise a length; ours have one
        inputs, targets = gathered(split, count)
    except ModuleNotFoundError as error:
        raise Unavailable(f"its data need the package {error.name!r}") from error
    except (DataError, UnknownModel) as error:
        raise Unavailable(str(error)) from error
    try:
        for start in range(0, count, max(1, signature.max_batch_size)):
            stop = start + max(1, signature.max_batch_size)
            signature.check({name: array[start:stop] for name, array in inputs.items()})
    except SignatureError as error:
        raise Unavailable(f"its data do not fit the versions: {error}") from error
    return Samples((inputs,), targets, f"{count:,} samples of the test split")


def gathered(split: "Dataset[tuple[dict[str, Tensor], Tensor]]", count: int) -> tuple[dict[str, Array], Array]:
    """Return the first samples of a split as arrays, one row each, and their targets."""
    if hasattr(split, "__getitems__"):  # gathers them itself, and pads where they differ in length (models.spec.Datasets)
        inputs, targets = split.__getitems__(list(range(count)))
        return {name: tensor.numpy() for name, tensor in inputs.items()}, targets.numpy()
    items = [split[index] for index in range(count)]
    arrays = {name: np.stack([inputs[name].numpy() for inputs, _ in items]) for name in items[0][0]}
    return arrays, np.stack([target.numpy() for _, target in items])


def golden_samples(*versions: ModelVersion) -> Samples:
    """Return the golden inputs of all versions, whose inputs are the same; raise RepositoryError for a damaged sample."""
    goldens = [version.golden()[0] for version in versions]
    rows = sum(version.manifest.golden.rows for version in versions)
    return Samples(tuple(goldens), None, f"the golden samples of both, {rows:,} rows")
