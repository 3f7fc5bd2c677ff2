"""A sample as people see it: a picture where the model is sent pictures, else the text or the record that it is sent."""

from dataclasses import dataclass

from models.content import Content, ContentError, ImageContent
from models.tensors import Tensors

#: Of a text, what is shown: some lines of a page.
_MOST_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample: a PNG file, or None and a text."""

    picture: bytes | None
    text: str


def shown(content: Content, row: Tensors) -> Shown:
    """Return one row of the inputs as it would be sent."""
    try:
        written = content.input.write(row)
    except (ContentError, LookupError, ValueError) as error:  # a category that has no name, say
        return Shown(None, f"cannot be shown: {error}")
    if isinstance(content.input, ImageContent):
        return Shown(written, "")
    text = written.decode(errors="replace")
    return Shown(None, text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…")
