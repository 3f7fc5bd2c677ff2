"""Records as content: a JSON object with named fields in, one row of each of the model's tables out."""

import json as text
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models import fields
from models.content_error import ContentError
from models.fields import Fields
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec, expect

#: A record is a line of a table. What is longer is something else.
MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field: the column `place` of `tensor`. A number as it is, or with `categories` one of those, as its index."""

    name: str
    tensor: str
    place: int
    categories: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, json: Fields) -> "RecordField":
        """Read a field; raise FieldError."""
        return cls(
            name=fields.text(json, "name"),
            tensor=fields.text(json, "tensor"),
            place=fields.count(json, "place"),
            categories=fields.optional(json, "categories", fields.texts),
        )

    def to_number(self, value: object) -> float | int:
        """Return what stands in the tensor for a value of the record; raise ContentError."""
        if self.categories is not None:
            if value not in self.categories:
                raise ContentError(self.name, expected=f"one of {', '.join(self.categories)}", found=f"{value!r:.80}")
            return self.categories.index(str(value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ContentError(self.name, expected="a number", found=f"{value!r:.80}")
        if not _fits(value):
            raise ContentError(self.name, expected="a finite number of 32 bits", found=f"{value!r:.80}")
        return value

    def to_value(self, number: float | int) -> object:
        """Return what a person would write for a number of the tensor: the shortest that is read as the same float32."""
        if self.categories is not None:
            return self.categories[int(number)]
        return float(str(np.float32(number)))


@dataclass(frozen=True, slots=True)
class RecordContent:
    """A record as one row of one or more inputs: numbers in FP32 [1, k], categories in INT64 [1, k].

    Each column of each input is one field. All fields must be there, and no others.
    """

    columns: tuple[RecordField, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The inputs of the signature that a record fills."""
        return tuple(dict.fromkeys(field.tensor for field in self.columns))

    def read(self, data: bytes) -> dict[str, Array]:
        """Turn a JSON object into one row of each input; raise ContentError naming the field."""
        return self.to_arrays(_parsed(data))

    def to_arrays(self, record: Mapping[str, object]) -> dict[str, Array]:
        """Turn a record into one row of each input; raise ContentError naming the field."""
        names = [field.name for field in self.columns]
        unknown = next((name for name in record if name not in names), None)
        if unknown is not None:
            raise ContentError(f"{unknown:.80}", expected=f"the fields {', '.join(names)}", found="one that is none of them")
        rows = {tensor: np.zeros((1, width), dtype) for tensor, (width, dtype) in self._tables().items()}
        for field in self.columns:
            if field.name not in record:
                raise ContentError(field.name, expected="a value", found="no such field in the record")
            rows[field.tensor][0, field.place] = field.to_number(record[field.name])
        return rows

    def write(self, row: Tensors) -> bytes:
        """Return one row of the inputs as a person would send it."""
        record = {field.name: field.to_value(row[field.tensor][0, field.place].item()) for field in self.columns}
        return text.dumps(record, ensure_ascii=False).encode()

    def restores(self, row: Tensors) -> bool:
        """Tell whether one row of the inputs, written and read again, is the same row."""
        found = self.read(self.write(row))
        return all(np.array_equal(found[tensor], row[tensor]) for tensor in self.tensors)

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        described = [
            {
                "name": field.name,
                "tensor": field.tensor,
                "place": field.place,
                "categories": None if field.categories is None else list(field.categories),
            }
            for field in self.columns
        ]
        return {"kind": "record", "fields": described}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless these are the inputs of that model, each column filled by one field."""
        names = [field.name for field in self.columns]
        if not names or len(set(names)) != len(names):
            raise SignatureError("content: fields", expected="one or more, with names that differ", found=str(names))
        for tensor, (width, dtype) in self._tables().items():
            mine = [field for field in self.columns if field.tensor == tensor]
            if sorted(field.place for field in mine) != list(range(width)):
                found = str([field.place for field in mine])
                raise SignatureError(f"content: {tensor}", expected="a field for each column, and one only", found=found)
            if len({field.categories is None for field in mine}) != 1:
                raise SignatureError(f"content: {tensor}", expected="numbers only, or categories only", found="both")
            datatype = "FP32" if dtype == np.float32 else "INT64"
            expect("content", TensorSpec(tensor, datatype, (width,)), signature.input(tensor))
        for field in self.columns:
            if field.categories is not None and len(set(field.categories)) != len(field.categories):
                raise SignatureError(f"content: {field.name}", expected="categories that differ", found="one twice")

    def _tables(self) -> dict[str, tuple[int, type[np.generic]]]:
        """Return width and type of each input."""
        tables: dict[str, tuple[int, type[np.generic]]] = {}
        for field in self.columns:
            width, _ = tables.get(field.tensor, (0, np.float32))
            tables[field.tensor] = (width + 1, np.float32 if field.categories is None else np.int64)
        return tables

    @classmethod
    def from_json(cls, json: Fields) -> "RecordContent":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        return cls(fields.items(json, "fields", RecordField.from_json))


def _fits(value: float | int) -> bool:
    """Tell whether a number is a finite float32; an integer of hundreds of digits has no float at all."""
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(value)))
    except OverflowError:
        return False


def _parsed(data: bytes) -> Mapping[str, object]:
    """Return the JSON object; raise ContentError for anything else, a key that comes twice, or NaN."""
    if len(data) > MAX_BYTES:
        raise ContentError("record", expected=f"at most {MAX_BYTES:,} bytes", found=f"{len(data):,}")
    try:
        record = text.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except ContentError:
        raise
    except RecursionError:
        raise ContentError("record", expected="a JSON object", found="one that is nested too deeply") from None
    except ValueError as error:
        # Python's own word on a number of thousands of digits is advice to whoever runs this.
        reason = "a number of too many digits" if "int_max_str_digits" in str(error) else f"none: {error}"[:200]
        raise ContentError("record", expected="a JSON object", found=reason) from None
    if not isinstance(record, dict):
        raise ContentError("record", expected="a JSON object", found=f"{type(record).__name__}")
    return record


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ContentError("record", expected="each field once", found="one twice")
    return found


def _no_constant(word: str) -> float:
    raise ContentError("record", expected="finite numbers", found=word)
