"""Protobuf's text format → values with their places. It knows the grammar and no schema; `triton_config.py` knows that.

https://protobuf.dev/reference/protobuf/textformat-spec/. Extensions and `Any` are left out: a configuration has none.
"""

import bisect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.model_config import ConfigError

#: Messages inside messages: Triton's own are 6 deep at most, and each costs the parser four frames of the stack.
_DEPTH = 32

#: Digits of a number. The longest that means anything, a negative 64-bit one in octal, has 24.
_NUMBER = 40

_TOKEN = re.compile(
    r"""
    (?P<blank>     [\ \t\r\n\v\f]+ | \#[^\n]* )
  | (?P<number>    (?: 0[xX][0-9a-fA-F]+ | (?: [0-9]+\.?[0-9]* | \.[0-9]+ ) (?:[eE][+-]?[0-9]+)? ) [fF]? (?![\w.]) )
  | (?P<word>      [A-Za-z_][A-Za-z0-9_]* )
  | (?P<string>    " (?: [^"\\\n] | \\[^\n] )* " | ' (?: [^'\\\n] | \\[^\n] )* ' )
  | (?P<sign>      [{}<>\[\]:,;-] )
    """,
    re.VERBOSE | re.ASCII,
)

_ESCAPE = re.compile(
    rb"""\\(?: (?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9a-fA-F]{1,2})
             | u(?P<short>[0-9a-fA-F]{4}) | U(?P<long>[0-9a-fA-F]{8}) | (?P<one>.) )""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_ESCAPES = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"?": b"?", b"\\": b"\\", b"'": b"'", b'"': b'"',
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: the name of an enumeration's value, or true and false."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Value:
    """What one field was given, and where: `place` is "line:column", both from 1."""

    content: "int | float | str | Word | Message"
    place: str


#: Field → all that it was given, in the order of the text: a field may be named again and again.
Message = Mapping[str, list[Value]]


def parse(text: str, name: str) -> Message:
    """Return the message in a text; raise ConfigError with the file's name, line and column for anything else."""
    return _Parser(text, name).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


class _Parser:
    """A parser with one token to look ahead."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._next = self._token(0)

    def whole(self) -> Message:
        """Read fields up to the end of the text."""
        return self._fields("", depth=0)

    def _fields(self, closing: str, *, depth: int) -> Message:
        """Read fields up to a closing bracket, or the end, and step over it."""
        if depth > _DEPTH:
            raise self._error(f"messages at most {_DEPTH} deep")
        fields: dict[str, list[Value]] = {}
        while self._next.text != closing or self._next.kind == "string":
            if self._next.kind != "word":
                raise self._error(f"a field's name{f' or {closing!r}' if closing else ''}")
            values = fields.setdefault(self._take().text, [])
            if self._taken(":"):
                self._values(values, depth=depth)
            elif self._next.text in ("{", "<", "["):
                self._values(values, depth=depth, scalars=False)
            else:
                raise self._error("':' or '{'")
            if not self._taken(","):
                self._taken(";")
        if closing:
            self._take()
        return fields

    def _values(self, values: list[Value], *, depth: int, scalars: bool = True) -> None:
        """Read what stands behind a field's name, one value or a list; only messages may do without a colon."""
        if not self._taken("["):
            values.append(self._value(depth=depth, scalars=scalars))
            return
        if self._taken("]"):
            return
        values.append(self._value(depth=depth, scalars=scalars))
        while self._taken(","):
            values.append(self._value(depth=depth, scalars=scalars))
        if not self._taken("]"):
            raise self._error("',' or ']'")

    def _value(self, *, depth: int, scalars: bool) -> Value:
        place, token = self._place(self._next.start), self._next
        if token.kind != "string" and token.text in ("{", "<"):
            self._take()
            return Value(self._fields({"{": "}", "<": ">"}[token.text], depth=depth + 1), place)
        if not scalars:
            raise self._error("'{'")
        if token.kind == "string":
            return Value(self._string(), place)
        negative = self._taken("-")
        token = self._next
        if token.kind == "number":
            number = self._number(token)
            self._take()
            return Value(-number if negative else number, place)
        if token.kind != "word" or (negative and token.text.lower() not in ("inf", "infinity", "nan")):
            raise self._error("a value")
        self._take()
        return Value(-math.inf if negative else Word(token.text), place)

    def _number(self, token: _Token) -> int | float:
        text = token.text
        if len(text) > _NUMBER:
            raise self._error(f"a number of at most {_NUMBER} characters")
        try:
            if text[:2].lower() == "0x":
                return int(text, 16)
            if text.isdigit():
                return int(text, 8) if text[0] == "0" else int(text)
            return float(text.rstrip("fF"))
        except ValueError:  # 09, which is no octal number
            raise self._error("a number") from None

    def _string(self) -> str:
        """Read strings that stand one behind the other, which are one."""
        first = self._next
        parts = []
        while self._next.kind == "string":
            parts.append(_ESCAPE.sub(self._unescaped, self._take().text[1:-1].encode("utf-8", "surrogatepass")))
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError:
            self._next = first
            raise self._error("a text in UTF-8") from None

    def _unescaped(self, found: "re.Match[bytes]") -> bytes:
        if found["octal"]:
            return bytes([int(found["octal"], 8) & 255])
        if found["hex"]:
            return bytes([int(found["hex"], 16)])
        if digits := found["short"] or found["long"]:
            code = int(digits, 16)
            # Half a character, or more than Unicode has, is no text; the bytes say so when they are decoded.
            return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b"\xff"
        return _PLAIN_ESCAPES.get(found["one"], b"\xff")

    def _taken(self, sign: str) -> bool:
        """Step over a sign and tell whether it was there."""
        if self._next.kind != "sign" or self._next.text != sign:
            return False
        self._take()
        return True

    def _take(self) -> _Token:
        token = self._next
        self._next = self._token(token.start + len(token.text))
        return token

    def _token(self, start: int) -> _Token:
        """Return the token at or behind a place, without blanks and comments; the last one is of kind `end`."""
        while start < len(self._text):
            found = _TOKEN.match(self._text, start)
            if found is None:
                self._next = _Token("odd", self._text[start], start)
                raise self._error("a name, a number, a string or a bracket")
            if found.lastgroup != "blank":
                return _Token(str(found.lastgroup), found[0], start)
            start = found.end()
        return _Token("end", "", start)

    def _place(self, start: int) -> str:
        line = bisect.bisect_right(self._lines, start)
        return f"{line}:{start - self._lines[line - 1] + 1}"

    def _error(self, expected: str) -> ConfigError:
        found = repr(self._next.text)[:50] if self._next.kind != "end" else "the end of the file"
        return ConfigError(f"{self._name}:{self._place(self._next.start)}: expected {expected}, found {found}")
