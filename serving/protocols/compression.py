"""Compressed request bodies: gzip and deflate, inflated up to a limit and not a byte further."""

import zlib

from serving.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

#: HTTP's names (RFC 9110, section 8.4.1) and zlib's window arguments. "deflate" is the zlib format, not a bare stream.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

#: gzip allows several members, one after the other (zlib's format does not). Clients send one; each copies what follows
#: it, and 32 MiB could hold a million and a half of nothing.
_MEMBERS = 16

#: What is inflated at a time: zlib holds a piece twice while it joins it.
_PIECE_BYTES = 4 * 1024 * 1024


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the body as it was before compression.

    Raise UnsupportedEncoding for any other coding, BodyTooLarge beyond the limit, and MalformedRequest where the
    stream is damaged, breaks off, or is followed by something else.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise UnsupportedEncoding.at("content-encoding", expected="gzip or deflate", found=f"{encoding!r:.100}")
    parts: list[bytes] = []
    room = limit
    rest = body
    for _ in range(_MEMBERS):
        stream = zlib.decompressobj(window)
        while not stream.eof:
            try:
                # One byte more than there is room for tells a body that fills it from one that overflows it.
                part = stream.decompress(rest, min(_PIECE_BYTES, room + 1))
            except zlib.error as error:
                raise MalformedRequest.at("body", expected=f"{name} data", found=f"{len(body):,} bytes: {error}") from None
            if not part and not stream.eof:
                raise MalformedRequest.at("body", expected=f"whole {name} data", found=f"{len(body):,} bytes that break off")
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise BodyTooLarge.at("body", expected=f"at most {limit} bytes once inflated", found="more")
            rest = stream.unconsumed_tail
        rest = stream.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if window == _WINDOWS["deflate"]:
            break
    raise MalformedRequest.at("body", expected=f"{name} data", found=f"{len(rest):,} further bytes behind it")
