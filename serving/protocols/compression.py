"""Compressed request bodies: gzip and deflate, inflated up to a limit and not a byte further.

32 KiB on the wire can be 32 MiB here, so what all requests of a process have inflated has a limit of its own.
"""

import threading
import zlib
from collections.abc import Callable

from serving.errors import BodyTooLarge, MalformedRequest, ServerBusy, UnsupportedEncoding

#: HTTP's names (RFC 9110, section 8.4.1) and zlib's window arguments. "deflate" is the zlib format, not a bare stream.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

#: gzip allows several members, one after the other (zlib's format does not). Clients send one; each copies what follows
#: it, and 32 MiB could hold a million and a half of nothing.
_MEMBERS = 16

#: What is inflated at a time: zlib holds a piece twice while it joins it.
_PIECE_BYTES = 4 * 1024 * 1024


class Inflater:
    """Inflates bodies, and counts what is held of them until they are let go. Thread-safe."""

    def __init__(self, *, each: int, together: int) -> None:
        """`each` is the limit in bytes for one body, `together` for all that are held."""
        self._each = each
        self._together = together
        self._lock = threading.Lock()
        self._held = 0

    def inflate(self, body: bytes, encoding: str) -> tuple[bytes, int]:
        """Return the body as it was before compression, and how much of it is held from now on; raise as `inflate`."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            self._hold(size)
            held += size

        try:
            return inflate(body, encoding, self._each, hold), held
        except BaseException:
            self.let_go(held)
            raise

    def let_go(self, size: int) -> None:
        """Hold so many bytes less."""
        with self._lock:
            self._held -= size

    def _hold(self, size: int) -> None:
        """Hold so many bytes more; raise ServerBusy where that is too many."""
        with self._lock:
            if self._held + size > self._together:
                raise ServerBusy("the server holds as many inflated bodies as it may", retry_after_seconds=1)
            self._held += size


def inflate(body: bytes, encoding: str, limit: int, hold: Callable[[int], None]) -> bytes:
    """Return the body as it was before compression; `hold` is told the size of every piece, and may refuse it.

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
            room -= len(part)
            if room < 0:
                raise BodyTooLarge.at("body", expected=f"at most {limit} bytes once inflated", found="more")
            hold(len(part))
            parts.append(part)
            rest = stream.unconsumed_tail
        rest = stream.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if window == _WINDOWS["deflate"]:
            break
    raise MalformedRequest.at("body", expected=f"{name} data", found=f"{len(rest):,} further bytes behind it")
