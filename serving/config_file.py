"""Reading a model's configuration, a file that strangers may have put there: a plain file, and a small one.

A link could name any file of this machine, a pipe would make the server wait for ever, and `/dev/zero` has no end. The
system itself refuses a link, and what was opened is looked at, not what lay there a moment before.
"""

import errno
import os
import stat
from pathlib import Path

#: Triton's own configurations have a few kilobytes; this is no place to hide a model in.
LARGEST_BYTES = 1024 * 1024


class ConfigError(Exception):
    """A model configuration cannot be used; the message names the key, what was found and what was expected."""


def read(path: Path) -> bytes | None:
    """Return the bytes of a configuration, None where there is none; raise ConfigError unless it is plain and small."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{path.name}: expected a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(LARGEST_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        # ELOOP is how the system refuses a link, ENXIO a socket.
        odd = error.errno in (errno.ELOOP, errno.ENXIO)
        why = "expected a regular file" if odd else error.strerror or error
        raise ConfigError(f"{path.name}: {why}") from error
    if len(data) > LARGEST_BYTES:
        raise ConfigError(f"{path.name}: expected at most {LARGEST_BYTES:,} bytes")
    return data
