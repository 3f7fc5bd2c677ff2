"""Image files for /predict that are damaged, cut off, mislabelled, far larger than they look, or merely unusual."""

import io
import struct
import zlib

from PIL import Image

from tests.conformance.cases import Case
from tests.toys import SIZE

_PATH = "/predict/toy"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return _SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks) + _chunk(b"IEND", b"")


def _header(width: int, height: int, depth: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


_PIXELS = b"IDAT", zlib.compress(bytes(SIZE * (SIZE + 1)))
_GREY = Image.new("L", (SIZE, SIZE), 128)
_GOOD, _JPEG = _saved(_GREY, "PNG"), _saved(_GREY, "JPEG")


def _case(name: str, data: bytes, status: int = 400, *, media_type: str | None = None, field: str | None = "image") -> Case:
    code = None if status == 200 else "invalid_input" if field == "image" else "malformed_request"
    headers = {} if media_type is None else {"Content-Type": media_type}
    return Case(name, _PATH, data, status, code, None if status == 200 else field, headers)


FILES: tuple[Case, ...] = (
    _case("a PNG", _GOOD, 200),
    _case("a JPEG", _JPEG, 200),
    _case("a PNG called a JPEG", _GOOD, 200, media_type="image/jpeg"),
    _case("a PNG called JSON", _GOOD, 200, media_type="application/json"),
    _case("a PNG with something behind", _GOOD + bytes(1000), 200),
    _case("a PNG of another size", _saved(Image.new("L", (37, 11)), "PNG"), 200),
    _case("a PNG of one pixel", _saved(Image.new("L", (1, 1)), "PNG"), 200),
    _case("a PNG of a million pixels", _saved(Image.new("RGB", (1000, 1000)), "PNG"), 200),
    *(
        _case(f"a PNG of mode {mode}", _saved(Image.new(mode, (5, 5)), "PNG"), 200)
        for mode in ("1", "LA", "P", "RGB", "RGBA", "I;16")
    ),
    *(_case(f"a JPEG of mode {mode}", _saved(Image.new(mode, (5, 5)), "JPEG"), 200) for mode in ("RGB", "CMYK")),
    _case("a progressive JPEG", _saved(Image.new("L", (64, 64)), "JPEG", progressive=True), 200),
    *(_case(f"a {format}", _saved(_GREY, format)) for format in ("GIF", "BMP", "TIFF", "PPM", "ICO", "WEBP")),
    _case("an SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
    _case("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n"),
    _case("a name", b"/etc/passwd"),
    _case("a PNG cut off", _GOOD[:-20]),
    _case("a PNG's header alone", _GOOD[:33]),
    _case("a PNG without pixels", _png(_header(SIZE, SIZE))),
    _case("a PNG without a header", _png(_PIXELS)),
    _case("a PNG with damaged pixels", _png(_header(SIZE, SIZE), (b"IDAT", b"no zlib"))),
    _case("a PNG of no pixels", _png(_header(0, 0), _PIXELS)),
    _case("a PNG of an unknown depth", _png(_header(SIZE, SIZE, depth=7), _PIXELS)),
    _case("a PNG with a wrong checksum", _GOOD[:29] + b"\0\0\0\0" + _GOOD[33:]),
    _case("a PNG that says it has 10¹⁰ pixels", _png(_header(100_000, 100_000), _PIXELS)),
    _case("a PNG that says it has 2⁶² pixels", _png(_header(2**31 - 1, 2**31 - 1), _PIXELS)),
    _case("a PNG a row larger than may be", _png(_header(4096, 4097), _PIXELS)),
    _case(
        "a PNG with a bomb of a text", _png(_header(SIZE, SIZE), (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))), _PIXELS)
    ),
    _case("a JPEG cut off", _JPEG[: len(_JPEG) // 2]),
    _case("a JPEG's first bytes", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    _case("a JPEG of a thousand scans", _JPEG[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 1000),
)


def _form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def _part(data: bytes, disposition: bytes = b'form-data; name="image"; filename="a.png"') -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n\r\n" + data


_TYPE = "multipart/form-data; boundary=b"

FORMS: tuple[Case, ...] = (
    _case("a form", _form(_part(_GOOD)), 200, media_type=_TYPE),
    _case("a form in capitals", _form(_part(_GOOD)), 200, media_type='MULTIPART/Form-Data; charset=utf-8; Boundary="b"'),
    _case("a form with a field before", _form(_part(b"x", b'form-data; name="a"'), _part(_GOOD)), 200, media_type=_TYPE),
    _case("a form of two files", _form(_part(_GOOD), _part(b"x")), 200, media_type=_TYPE),
    _case("a form with a file that is none", _form(_part(b"x")), media_type=_TYPE),
    _case("a form without a file", _form(_part(b"x", b'form-data; name="a"')), media_type=_TYPE, field="body"),
    _case("a form without parts", b"--b--\r\n", media_type=_TYPE, field="body"),
    _case("a form of nothing", b"", media_type=_TYPE, field="body"),
    _case("a form of another boundary", _form(_part(_GOOD), boundary=b"c"), media_type=_TYPE, field="body"),
    _case("a form without a boundary", _form(_part(_GOOD)), media_type="multipart/form-data", field="content-type"),
    _case(
        "a form of an empty boundary",
        _form(_part(_GOOD)),
        media_type='multipart/form-data; boundary=""',
        field="content-type",
    ),
    _case("a form that ends early", _form(_part(_GOOD))[:40], media_type=_TYPE, field=None),
    _case("a form of a very long boundary", b"", media_type=f"multipart/form-data; boundary={'b' * 5000}", field="body"),
    _case("a form of 65 parts", _form(*[_part(b"x")] * 65), media_type=_TYPE, field="body"),
    _case("a form of a hundred thousand parts", _form(*[_part(b"x")] * 100_000), media_type=_TYPE, field="body"),
    _case("a part with a header without end", b"--b\r\nX: " + b"a" * 1_000_000, media_type=_TYPE, field="body"),
    _case("a part with a thousand headers", b"--b\r\n" + b"X: a\r\n" * 1000, media_type=_TYPE, field="body"),
    _case(
        "an image of a foreign name", _form(_part(_GOOD, b'form-data; filename="../../etc/passwd"')), 200, media_type=_TYPE
    ),
    _case("multipart/mixed", _form(_part(_GOOD)), media_type="multipart/mixed; boundary=b"),
)

CASES: tuple[Case, ...] = (*FILES, *FORMS)
