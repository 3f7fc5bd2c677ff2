"""IDX, the file format of MNIST and its relatives: a header that says what follows, then the bytes, all under gzip.

The header (http://yann.lecun.com/exdb/mnist) is big-endian: two zero bytes, the element type (8: unsigned byte), the
number of axes, then one 32-bit length for each axis.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.spec import DataError

_UNSIGNED_BYTE = 8

#: The largest relative, EMNIST ByClass, has 814,255 samples. A header that claims more is damaged, and is not believed
#: with gigabytes of memory.
_MAX_SAMPLES = 1_000_000


def read(path: Path, *sample: int) -> npt.NDArray[np.uint8]:
    """Return the array of a gzipped IDX file of unsigned bytes, [samples, *sample]; raise DataError for anything else."""
    magic = bytes((0, 0, _UNSIGNED_BYTE, 1 + len(sample)))
    try:
        with gzip.open(path) as file:
            head = file.read(len(magic) + 4 * (1 + len(sample)))
            samples = _samples(path, head, magic, sample)
            size = samples * math.prod(sample)
            data = file.read(size + 1)  # one more than promised, to see that nothing follows
    except (OSError, EOFError, zlib.error) as error:  # EOFError: truncated; zlib.error: damaged inside
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: expected a whole gzip file, found: {reason}") from error
    if len(data) != size:
        found = f"{len(data):,}" if len(data) < size else "more"
        raise DataError(f"{path}: expected {size:,} bytes for {samples:,} samples, found {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(samples, *sample)


def _samples(path: Path, head: bytes, magic: bytes, sample: tuple[int, ...]) -> int:
    """Return the number of samples the header promises, once everything else in it is as it must be."""
    if not head.startswith(magic) or len(head) != len(magic) + 4 * (1 + len(sample)):
        raise DataError(f"{path}: expected an IDX file that begins with {magic.hex()}, found {head[:4].hex() or 'nothing'}")
    samples, *shape = struct.unpack_from(f">{1 + len(sample)}I", head, len(magic))
    if tuple(shape) != sample:
        raise DataError(f"{path}: expected samples of shape {list(sample)}, found {shape}")
    if not 1 <= samples <= _MAX_SAMPLES:
        raise DataError(f"{path}: expected 1 to {_MAX_SAMPLES:,} samples, found {samples:,}")
    return int(samples)
