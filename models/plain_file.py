"""Reading a file that strangers may have put there: a plain one, and no more of it than was agreed.

A link could name any file of this machine, a pipe would make the reader wait for ever, and `/dev/zero` has no end. The
system itself refuses a link, and what was opened is looked at, not what lay there a moment before.
"""

import errno
import os
import stat
from pathlib import Path


class FileError(Exception):
    """A file is not plain, too large, or cannot be read; the message says which, without the folder."""


def read(path: Path, *, most_bytes: int) -> bytes | None:
    """Return the bytes of a regular file, None where there is none; raise FileError unless it is plain and small enough."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FileError(f"{path.name}: expected a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(most_bytes + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        # ELOOP is how the system refuses a link, ENXIO a socket.
        odd = error.errno in (errno.ELOOP, errno.ENXIO)
        why = "expected a regular file" if odd else error.strerror or error
        raise FileError(f"{path.name}: {why}") from error
    if len(data) > most_bytes:
        raise FileError(f"{path.name}: expected at most {most_bytes:,} bytes")
    return data
