"""Tensors under names, and the signature that says which of them a model takes and gives.

A tensor is a plain numpy array; its datatype is the name the Open Inference Protocol gives it (`FP32`, `INT64`, …).
Everything that moves tensors, from the training data to the answer on the wire, speaks in the terms of this file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models import fields

# Any: a tensor's element type is data (a TensorSpec's datatype), not known when the code is written.
Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

#: Datatypes of the Open Inference Protocol ("Tensor Data Types") and BF16, with the numpy dtype that carries each.
#: BYTES is carried as an object array; BF16, which numpy lacks, as its 16 bits in a uint16.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(object),
}

#: Serving replays the largest batch before a version is ready: one that no machine could hold must not be tried.
_MOST_ROWS = 65_536


class SignatureError(ValueError):
    """A tensor does not fit the signature: `field` names it, `expected` and `found` say how it differs."""

    def __init__(self, field: str, *, expected: str, found: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, datatype and shape of one tensor.

    `shape` leaves the batch axis out, None stands for a free axis. Under `max_batch_size` 0 there is no batch axis and
    `shape` is the whole shape.
    """

    name: str
    datatype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if self.datatype not in DTYPES:
            raise SignatureError(self.name, expected=f"a datatype of {', '.join(DTYPES)}", found=repr(self.datatype))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype that carries this tensor."""
        return DTYPES[self.datatype]

    def to_json(self) -> dict[str, object]:
        """Return the spec as JSON; a free axis is written as null."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, json: fields.Fields) -> "TensorSpec":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        shape = fields.sequence(json, "shape")
        for length in shape:
            if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 0):
                raise fields.FieldError("shape", expected="lengths, or null where free", found=shape)
        datatype = fields.text(json, "datatype")
        if datatype not in DTYPES:
            raise fields.FieldError("datatype", expected=f"one of {', '.join(DTYPES)}", found=datatype)
        return cls(fields.text(json, "name"), datatype, tuple(shape))


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, and the most rows one execution takes.

    `max_batch_size` 0 says that there is no batch axis which every input and output has first: a request then is one row
    and runs alone.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int

    def __post_init__(self) -> None:
        for kind, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [spec.name for spec in specs]
            if not names or len(set(names)) != len(names):
                raise SignatureError(kind, expected="one or more tensors with different names", found=str(names))
        if not 0 <= self.max_batch_size <= _MOST_ROWS:
            raise SignatureError("max_batch_size", expected=f"0 to {_MOST_ROWS}", found=str(self.max_batch_size)[:40])

    @property
    def batched(self) -> bool:
        """Whether requests may share an execution."""
        return self.max_batch_size > 0

    def full_shape(self, spec: TensorSpec) -> tuple[int | None, ...]:
        """Return the spec's shape as it is on the wire: with the batch axis, where there is one."""
        return (None, *spec.shape) if self.batched else spec.shape

    def input(self, name: str) -> TensorSpec | None:
        """Return the input of that name, or None."""
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec | None:
        """Return the output of that name, or None."""
        return _named(self.outputs, name)

    def check(self, inputs: Tensors) -> int:
        """Return the number of rows; raise SignatureError naming the first tensor that does not fit."""
        self._check_names(inputs)
        rows: int | None = None
        for spec in self.inputs:
            array = inputs[spec.name]
            self.check_tensor(spec, array)
            if not self.batched:
                continue
            if rows is None:
                rows = self._check_rows(spec, array.shape[0])
            elif array.shape[0] != rows:
                expected = f"{rows} rows, as in {self.inputs[0].name!r}"
                raise SignatureError(spec.name, expected=expected, found=f"{array.shape[0]} rows")
        return 1 if rows is None else rows

    def check_tensor(self, spec: TensorSpec, array: Array) -> None:
        """Raise SignatureError unless the array has the spec's datatype and shape; the number of rows is free."""
        if array.dtype != DTYPES[spec.datatype]:
            raise SignatureError(spec.name, expected=f"datatype {spec.datatype}", found=f"dtype {array.dtype}")
        if array.ndim and array.shape[1:] == spec.shape and self.max_batch_size:
            return  # without free axes this is all, and this is on the path of every request
        shape = self.full_shape(spec)
        fits = len(shape) == array.ndim
        if fits:
            for length, wanted in zip(array.shape, shape, strict=True):
                if wanted is not None and wanted != length:
                    fits = False
                    break
        if not fits:
            raise SignatureError(spec.name, expected=f"shape {show_shape(shape)}", found=f"shape {list(array.shape)}")

    def _check_names(self, inputs: Tensors) -> None:
        if len(inputs) == len(self.inputs):
            # A plain loop, a quarter of what all() costs: this is on the path of every request.
            for spec in self.inputs:
                if spec.name not in inputs:
                    break
            else:
                return
        expected = "the inputs " + ", ".join(spec.name for spec in self.inputs)
        for spec in self.inputs:
            if spec.name not in inputs:
                raise SignatureError(spec.name, expected=expected, found="no such input in the request")
        surplus = next(name for name in inputs if self.input(name) is None)
        raise SignatureError(surplus, expected=expected, found="an input the model does not take")

    def _check_rows(self, spec: TensorSpec, rows: int) -> int:
        if not 1 <= rows <= self.max_batch_size:
            raise SignatureError(spec.name, expected=f"1 to {self.max_batch_size} rows", found=f"{rows} rows")
        return rows

    def to_json(self) -> dict[str, object]:
        """Return the signature as JSON."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "max_batch_size": self.max_batch_size,
        }

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Signature":
        """Read what `to_json` wrote; raise FieldError, or SignatureError for names that clash."""
        return cls(
            inputs=fields.items(json, "inputs", TensorSpec.from_json),
            outputs=fields.items(json, "outputs", TensorSpec.from_json),
            max_batch_size=fields.count(json, "max_batch_size"),
        )


def _named(specs: Iterable[TensorSpec], name: str) -> TensorSpec | None:
    # A plain loop, a tenth of what a generator costs: this is on the path of every request.
    for spec in specs:
        if spec.name == name:
            return spec
    return None


def show_shape(shape: Iterable[int | None]) -> str:
    """Return a shape as people and the protocol write it: -1 for a free axis."""
    return str([-1 if length is None else length for length in shape])


def rows_of(tensors: Tensors, start: int, stop: int) -> dict[str, Array]:
    """Return the rows from start to stop of every tensor, as views."""
    return {name: array[start:stop] for name, array in tensors.items()}


def expect(field: str, wanted: TensorSpec, found: TensorSpec | None) -> None:
    """Raise SignatureError unless a tensor of a signature is the one that is wanted."""
    if found != wanted:
        raise SignatureError(f"{field}: {wanted.name}", expected=str(wanted), found=str(found))
