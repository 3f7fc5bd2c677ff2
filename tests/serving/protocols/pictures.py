"""Image files that no camera makes: bombs, damaged ones, ones that ask for more work than they are worth."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *, chunks: bytes = b"") -> bytes:
    """Return a black PNG, grey with one bit a pixel, that may declare any size: its data is one line."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    line = b"\0" + b"\0" * ((width + 7) // 8)
    data = png_chunk(b"IDAT", zlib.compress(line * min(height, 64)))
    return PNG + header + chunks + data + png_chunk(b"IEND", b"")


def jpeg(side: int = 64, *, progressive: bool = False, mode: str = "L") -> bytes:
    """Return noise as a JPEG."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", progressive=progressive)
    return file.getvalue()


def jpeg_of_scans(scans: int) -> bytes:
    """Return a progressive JPEG with so many scans more than it needs, each of them empty: 10 bytes."""
    file = jpeg(progressive=True)
    last = file.rindex(b"\xff\xda")
    (length,) = struct.unpack(">H", file[last + 2 : last + 4])
    return file[:-2] + file[last : last + 2 + length] * scans + file[-2:]


def noise_png(side: int) -> bytes:
    """Return noise as a PNG: `side`² bytes and a little."""
    noise = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()
