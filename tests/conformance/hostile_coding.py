"""Compressed bodies: damaged, cut off, wrongly named, twice packed, and far larger inside than outside."""

import gzip
import json
import struct
import zlib

from tests.conformance.cases import HEADER_LENGTH, Case, body, dump, infer

MIB = 1024 * 1024
_PLAIN = dump(body())


def _case(name: str, data: bytes, coding: str, status: int, code: str | None = None, field: str | None = None) -> Case:
    return Case(name, infer("identity_fp32"), data, status, code, field, {"Content-Encoding": coding})


def _bare(data: bytes) -> bytes:
    """Return what some servers take for "deflate": a stream without zlib's frame."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zeros(mebibytes: int) -> bytes:
    """Return so many zeros, packed; small pieces are packed and joined, since the whole is what nobody should hold."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mebibytes)) + packer.flush()


def members(size: int) -> bytes:
    """Return a gzip stream of about so many bytes in as many members as it can have, each of nothing."""
    nothing = gzip.compress(b"", mtime=0)
    return nothing * (size // len(nothing))


def _damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


_GZIP, _ZLIB = gzip.compress(_PLAIN, mtime=0), zlib.compress(_PLAIN)
_HEAD = json.dumps(body()).encode()

ACCEPTED: tuple[Case, ...] = (
    _case("gzip", _GZIP, "gzip", 200),
    _case("gzip by its old name", _GZIP, "x-gzip", 200),
    _case("gzip in capitals", _GZIP, "GZip", 200),
    _case("gzip in two members", gzip.compress(_PLAIN[:10], mtime=0) + gzip.compress(_PLAIN[10:], mtime=0), "gzip", 200),
    _case("deflate", _ZLIB, "deflate", 200),
    _case("identity", _PLAIN, "identity", 200),
    _case("no coding, and said so", _PLAIN, "", 200),
)

REFUSED: tuple[Case, ...] = (
    *(
        _case(f"coding {coding!r}", _GZIP, coding, 415, "unsupported_encoding", "content-encoding")
        for coding in ("br", "zstd", "compress", "gzip, gzip", "gzip, identity", "gzip;q=1", "gz", "*", "g" * 5000)
    ),
    _case("packed twice, told once", gzip.compress(_GZIP), "gzip", 400, "malformed_request", "body"),
    _case("not packed", _PLAIN, "gzip", 400, "malformed_request", "body"),
    _case("not packed, deflate", _PLAIN, "deflate", 400, "malformed_request", "body"),
    _case("zlib called gzip", _ZLIB, "gzip", 400, "malformed_request", "body"),
    _case("gzip called deflate", _GZIP, "deflate", 400, "malformed_request", "body"),
    _case("deflate without its frame", _bare(_PLAIN), "deflate", 400, "malformed_request", "body"),
    _case("gzip of nothing at all", b"", "gzip", 400, "malformed_request", "body"),
    _case("gzip of an empty body", gzip.compress(b""), "gzip", 400, "malformed_request", "body"),
    _case("gzip cut off", _GZIP[:-9], "gzip", 400, "malformed_request", "body"),
    _case("gzip without its end", _GZIP[:-8], "gzip", 400, "malformed_request", "body"),
    _case("gzip without its last byte", _GZIP[:-1], "gzip", 400, "malformed_request", "body"),
    _case("gzip's head alone", _GZIP[:10], "gzip", 400, "malformed_request", "body"),
    _case("gzip with damage", _damaged(_GZIP), "gzip", 400, "malformed_request", "body"),
    _case("gzip with a wrong checksum", _GZIP[:-8] + struct.pack("<II", 1, len(_PLAIN)), "gzip", 400, "malformed_request"),
    _case("gzip with a wrong length", _GZIP[:-4] + struct.pack("<I", 2**32 - 1), "gzip", 400, "malformed_request"),
    _case("gzip with something behind", _GZIP + b"\0", "gzip", 400, "malformed_request", "body"),
    _case("deflate cut off", _ZLIB[:-5], "deflate", 400, "malformed_request", "body"),
    _case("deflate without its checksum", _ZLIB[:-4], "deflate", 400, "malformed_request", "body"),
    _case("deflate with something behind", _ZLIB + b"\0", "deflate", 400, "malformed_request", "body"),
    _case("a mebibyte more than fits", zeros(33), "gzip", 413, "body_too_large", "body"),
)

#: The header tells the length of the JSON as it is once inflated.
BINARY: tuple[Case, ...] = tuple(
    Case(
        f"gzip with a header {name}",
        infer("identity_fp32"),
        _GZIP,
        status,
        code,
        headers={"Content-Encoding": "gzip", HEADER_LENGTH: str(length)},
    )
    for name, length, status, code in (
        ("of the JSON inflated", len(_HEAD), 200, None),
        ("of the packed body", len(_GZIP), 400, "malformed_request"),
        ("beyond the inflated body", len(_HEAD) + 1, 400, "malformed_request"),
    )
)

CASES: tuple[Case, ...] = (*ACCEPTED, *REFUSED, *BINARY)
