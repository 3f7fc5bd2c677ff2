"""The one file in a multipart/form-data body (RFC 7578), as `curl -F` and browsers' forms send it."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.errors import MalformedRequest


def file_in(content_type: str, body: bytes, *, most_parts: int) -> bytes:
    """Return the bytes of the first part that has a file name; raise MalformedRequest where there is none.

    The parser is Python and does not wait: the number of parts bounds what a form can cost.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedRequest.at(
            "content-type", expected="multipart/form-data with a boundary", found=f"{content_type!r:.100}"
        )
    parts = _Parts(most_parts)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.on_part_begin,
                "on_header_field": parts.on_header_field,
                "on_header_value": parts.on_header_value,
                "on_header_end": parts.on_header_end,
                "on_part_data": parts.on_part_data,
                "on_part_end": parts.on_part_end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest.at("body", expected="multipart/form-data", found=f"{len(body):,} bytes: {error}") from error
    if parts.file is None:
        raise MalformedRequest.at("body", expected="a form with a file", found="a form without one")
    return b"".join(parts.file)


class _Parts:
    """Follows the parser through the body and keeps the pieces of the first file."""

    def __init__(self, most: int) -> None:
        self.file: list[bytes] | None = None
        self._most = most
        self._count = 0
        self._collecting = False
        self._name = b""
        self._value = b""

    def on_part_begin(self) -> None:
        """Begin a part, if there may be one more."""
        self._count += 1
        if self._count > self._most:
            raise MalformedRequest.at("body", expected=f"a form of at most {self._most} parts", found="more")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's name."""
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's value."""
        self._value += data[start:end]

    def on_header_end(self) -> None:
        """Look at a whole header: is this part a file?"""
        if self._name.lower() == b"content-disposition" and self.file is None:
            _, options = parse_options_header(self._value)
            if b"filename" in options:
                self.file = []
                self._collecting = True
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a part."""
        if self._collecting and self.file is not None:
            self.file.append(data[start:end])

    def on_part_end(self) -> None:
        """Stop collecting: one file is enough."""
        self._collecting = False
