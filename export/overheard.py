"""What a model's own code prints: it has no place in a report, which other programs read, so it goes to standard error."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

#: Lines that are passed on. A module that prints in `forward` does so thousands of times.
MOST_LINES = 20


class Overheard(io.TextIOBase):
    """A stream that passes on its first lines to standard error and counts them all."""

    def __init__(self) -> None:
        self.lines = 0
        self._out = sys.stderr

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Pass the text on while there are few lines."""
        if self.lines < MOST_LINES:
            self._out.write(text)
        self.lines += text.count("\n")
        return len(text)


@contextlib.contextmanager
def overheard() -> Iterator[Overheard]:
    """Keep standard output free while the context is entered, of prints and of what is written past Python. Process-wide."""
    words = Overheard()
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed by whoever started the process
        kept = None
    if kept is not None:
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(words):
            yield words
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
