"""Reading a message in protobuf's text format field by field: a value of the type that is asked for, or where it is not.

What nobody asked for is remembered, so that whoever reads a stranger's configuration can say what it leaves out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from serving.model_config import ConfigError, check_range
from serving.protobuf_text import Message, Value, Word

T = TypeVar("T")


@dataclass(slots=True)
class Fields:
    """A message that is read field by field, and remembers which fields nobody asked for."""

    content: Message
    file: str
    path: str = ""
    _known: set[str] = field(default_factory=set)
    _inner: "list[Fields]" = field(default_factory=list)
    _ignored: list[str] = field(default_factory=list)

    def known(self, *keys: str) -> None:
        """Take fields for known that change nothing here."""
        self._known.update(keys)

    def ignore(self, what: str) -> None:
        """Remember something that has no counterpart here."""
        self._ignored.append(self.path + what)

    def ignored(self) -> list[str]:
        """Return the paths of everything that has no counterpart here, in this message and in those below."""
        unknown = [self.path + key for key in self.content if key not in self._known]
        return [*unknown, *self._ignored, *(path for inner in self._inner for path in inner.ignored())]

    def values(self, key: str) -> list[Value]:
        """Return all that a field was given."""
        self._known.add(key)
        return self.content.get(key, [])

    def text(self, key: str) -> str | None:
        """Return a text, None where the field is left out."""
        return self._last(key, "a text", lambda content: content if isinstance(content, str) else None)

    def word(self, key: str) -> str | None:
        """Return the name of an enumeration's value."""
        return self._last(key, "a name without quotes", lambda content: content.text if isinstance(content, Word) else None)

    def integer(self, key: str) -> int | None:
        """Return a whole number that is not negative."""
        values = self.values(key)
        number = self.integer_in(key, values[-1]) if values else None
        if number is not None and number < 0:
            raise self.error(key, "0 or more", str(number))
        return number

    def integer_in(self, key: str, value: Value) -> int:
        """Return one value of a field as a whole number of 64 bits."""
        number = value.content
        if not isinstance(number, int) or abs(number) >= 2**63:
            raise ConfigError(f"{self.file}:{value.place}: {self.path}{key}: expected a whole number, found {_show(value)}")
        return number

    def number(self, key: str, meaning: str) -> int | None:
        """Return a whole number in the range of the key of `config.toml` that means the same."""
        number = self.integer(key)
        if number is not None:
            check_range(f"{self.place(key)}: {self.path}{key}", meaning, number)
        return number

    def message(self, key: str) -> "Fields | None":
        """Return a message, None where the field is left out. One that is given twice is one, as protobuf has it."""
        found = self.messages(key)
        return found[-1] if found else None

    def messages(self, key: str) -> "list[Fields]":
        """Return all messages of a field."""
        found = []
        for value in self.values(key):
            if isinstance(value.content, int | float | str | Word):
                raise ConfigError(f"{self.file}:{value.place}: {self.path}{key}: expected '{{', found {_show(value)}")
            found.append(Fields(value.content, self.file, f"{self.path}{key}."))
        self._inner += found
        return found

    def place(self, key: str) -> str:
        """Return where a field's last value is: file, line and column."""
        values = self.content.get(key)
        return f"{self.file}:{values[-1].place}" if values else self.file

    def error(self, key: str, expected: str, found: str) -> ConfigError:
        """Return the error for a field that is not as expected."""
        return ConfigError(f"{self.place(key)}: {self.path}{key}: expected {expected}, found {found}")

    def _last(self, key: str, expected: str, read: Callable[[object], T | None]) -> T | None:
        values = self.values(key)
        if not values:
            return None
        content = read(values[-1].content)
        if content is None:
            raise self.error(key, expected, _show(values[-1]))
        return content


def _show(value: Value) -> str:
    simple = isinstance(value.content, int | float | str | Word)
    return (
        (str(value.content) if not isinstance(value.content, str) else repr(value.content))[:100] if simple else "a message"
    )
