"""Reading a model's configuration, a file that strangers may have put there: a plain file, and a small one."""

from pathlib import Path

from models import plain_file

#: Triton's own configurations have a few kilobytes; this is no place to hide a model in.
LARGEST_BYTES = 1024 * 1024


class ConfigError(Exception):
    """A model configuration cannot be used; the message names the key, what was found and what was expected."""


def read(path: Path) -> bytes | None:
    """Return the bytes of a configuration, None where there is none; raise ConfigError unless it is plain and small."""
    try:
        return plain_file.read(path, most_bytes=LARGEST_BYTES)
    except plain_file.FileError as error:
        raise ConfigError(str(error)) from error
