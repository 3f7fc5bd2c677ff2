"""What a stranger said, as it may go anywhere: into a terminal, a page, XML, JSON. A server under test is such a stranger.

Its words may be megabytes, steer a terminal, be no characters at all (lone surrogates), or be nested as deep as JSON goes.
"""

import reprlib
import unicodedata

#: As much as anybody reads of one thing that a server said.
MOST = 200

#: Kinds of characters that are not shown as they are: controls, those that turn the direction of text or cannot be seen,
#: halves of characters, places without one, and separators of lines.
_UNSHOWN = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxdict, _BRIEF.maxlist, _BRIEF.maxstring, _BRIEF.maxother = 3, 6, 6, 80, 80


def words(text: str | bytes, most: int = MOST) -> str:
    """Return the beginning of a text as one line that can be shown; what cannot is escaped as Python would."""
    if isinstance(text, bytes):
        text = text[: 4 * most].decode(errors="replace")
    line = line_of(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def line_of(text: str) -> str:
    """Return a whole line with everything escaped that a terminal, a page or XML would not show as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one.encode("unicode_escape").decode() if unicodedata.category(one) in _UNSHOWN else one for one in text)


def brief(value: object) -> str:
    """Return a value of JSON as one short line, however large or deep it is."""
    return words(_BRIEF.repr(value))
