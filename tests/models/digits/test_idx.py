import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from models.digits import idx
from models.spec import DataError
from models.tensors import Array


def packed(array: Array) -> bytes:
    """Return an array of bytes as an IDX file, before gzip."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data))
    return path


IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
LABELS = np.array([3, 1, 4, 1], np.uint8)


def test_images_and_labels_are_read(tmp_path: Path) -> None:
    assert np.array_equal(idx.read(written(tmp_path / "images.gz", packed(IMAGES)), 2, 3), IMAGES)
    assert np.array_equal(idx.read(written(tmp_path / "labels.gz", packed(LABELS))), LABELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an IDX file that begins with 00000803, found nothing"),
        (packed(LABELS), "expected an IDX file that begins with 00000803, found 00000801"),
        (b"\0\0\x0d\x03" + packed(IMAGES)[4:], "found 00000d03"),  # floats
        (packed(IMAGES)[:10], "expected an IDX file"),
        (packed(IMAGES.reshape(4, 3, 2)), r"expected samples of shape \[2, 3\], found \[3, 2\]"),
        (packed(IMAGES)[:-1], "expected 24 bytes for 4 samples, found 23"),
        (packed(IMAGES) + b"\0", "expected 24 bytes for 4 samples, found more"),
        (packed(IMAGES[:0]), "expected 1 to 1,000,000 samples, found 0"),
        (b"\0\0\x08\x03" + b"\xff" * 4 + struct.pack(">II", 2, 3), "expected 1 to 1,000,000 samples, found 4,294,967,295"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = written(tmp_path / "images.gz", data)
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        idx.read(path, 2, 3)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.gz: .*No such file"):
        idx.read(tmp_path / "absent.gz")


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 2, 3), np.uint8)
    whole = gzip.compress(packed(images))
    path = tmp_path / "images.gz"
    for damaged in (b"plain text", packed(images), whole[:-9], whole[:50], whole[:100] + bytes(9) + whole[109:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"images\.gz: "):
            idx.read(path, 2, 3)


def test_a_wrong_checksum_at_the_end_is_seen(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(packed(IMAGES)))
    whole[-8] ^= 1  # the CRC of all that came before
    path = tmp_path / "images.gz"
    path.write_bytes(whole)
    with pytest.raises(DataError, match="CRC"):
        idx.read(path, 2, 3)
