"""Reading JSON whose shape is known: each reader returns a value of the type it names or says where and what was wrong.

The manifest is the contract between export and serving, and may come from a disk that lies: nothing in it is believed
before it has passed through here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: A JSON object as `json.loads` gives it.
Fields = Mapping[str, object]


class FieldError(ValueError):
    """A field is missing or of another type than the format demands."""

    def __init__(self, field: str, *, expected: str, found: object) -> None:
        super().__init__(f"{field}: expected {expected}, found {found!r:.80}")
        self.field = field
        self.expected = expected
        self.found = found


def text(fields: Fields, key: str) -> str:
    """Return a string, one that can be written out again: JSON can spell half a character, which no encoding has."""
    value = _typed(fields, key, str, "a text")
    if not _writable(value):
        raise FieldError(key, expected="a text", found=value)
    return value


def integer(fields: Fields, key: str) -> int:
    """Return an integer; a boolean, which Python counts among them, is none."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(key, expected="an integer", found=value)
    return value


def count(fields: Fields, key: str) -> int:
    """Return an integer that is not negative."""
    value = integer(fields, key)
    if value < 0:
        raise FieldError(key, expected="0 or more", found=value)
    return value


def number(fields: Fields, key: str) -> float:
    """Return a finite number as a float: a tolerance that is not a number, or infinite, would let everything pass."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FieldError(key, expected="a number", found=value)
    try:
        result = float(value)
    except OverflowError:  # an integer of more than 308 digits
        result = math.inf
    if not math.isfinite(result):
        raise FieldError(key, expected="a finite number", found=value)
    return result


def boolean(fields: Fields, key: str) -> bool:
    """Return a truth value."""
    return _typed(fields, key, bool, "true or false")


def record(fields: Fields, key: str) -> Fields:
    """Return a JSON object."""
    return cast(Fields, _typed(fields, key, dict, "an object"))


def sequence(fields: Fields, key: str) -> list[Any]:  # Any: JSON that has not been looked at yet
    """Return a list; what is in it is for the caller to check."""
    return _typed(fields, key, list, "a list")


def items(fields: Fields, key: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
    """Return a list of objects, each read by `read`; an error names the place in the list."""
    values = sequence(fields, key)
    result = []
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise FieldError(f"{key}[{index}]", expected="an object", found=value)
        try:
            result.append(read(value))
        except FieldError as error:
            place = f"{key}[{index}].{error.field}"
            raise FieldError(place, expected=error.expected, found=error.found) from None
    return tuple(result)


def texts(fields: Fields, key: str) -> tuple[str, ...]:
    """Return a list of strings."""
    values = sequence(fields, key)
    if not all(isinstance(value, str) and _writable(value) for value in values):
        raise FieldError(key, expected="a list of texts", found=values)
    return tuple(values)


def integers(fields: Fields, key: str) -> tuple[int, ...]:
    """Return a list of integers."""
    values = sequence(fields, key)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise FieldError(key, expected="a list of integers", found=values)
    return tuple(values)


def optional(fields: Fields, key: str, read: Callable[[Fields, str], T]) -> T | None:
    """Return what `read` reads, or None where the field is null or absent."""
    return None if fields.get(key) is None else read(fields, key)


def _writable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _typed(fields: Fields, key: str, kind: type[T], expected: str) -> T:
    value = fields.get(key)
    if not isinstance(value, kind):
        raise FieldError(key, expected=expected, found=value)
    return value
