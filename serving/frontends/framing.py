"""The framing rules: which heads are refused, because another server on the way could read them differently.

Pure functions of what the parser has found; the parser itself refuses Content-Length beside Transfer-Encoding, and bad
numbers. RFC 9112 is "HTTP/1.1", RFC 9110 "HTTP Semantics".
"""

import re
from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serving.errors import HeadersTooLarge, MalformedRequest, ServingError
from serving.limits import Limits
from serving.protocols.request_id import HEADER, RequestIds
from serving.protocols.route import error_reply

Headers = Sequence[tuple[bytes, bytes]]

#: A host or an address, and a port (RFC 9110, section 7.2): what may be in it is all that may be in a URI's authority.
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


def check_head(method: bytes, version: str, headers: Headers, limits: Limits) -> None:
    """Raise MalformedRequest or HeadersTooLarge unless a request's head is as everybody would read it, and not too large.

    Names of headers are in lower case.
    """
    size = hosts = 0
    proper = chunked = True
    # One loop, as it is on the path of every request.
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            proper = proper and _HOST.fullmatch(value) is not None
        elif name == b"transfer-encoding":
            chunked = chunked and value.strip().lower() == b"chunked"
    if size > limits.header_bytes:
        raise head_too_large(limits)
    if version not in ("1.0", "1.1"):
        raise MalformedRequest.at("version", expected="HTTP/1.0 or HTTP/1.1", found=f"HTTP/{version}")
    if method == b"CONNECT":  # for httptools an upgrade, however often it is read
        raise MalformedRequest.at("method", expected="one for an origin server", found="CONNECT")
    needed = 1 if version == "1.1" else 0
    if not needed <= hosts <= 1 or not proper:
        found = f"{hosts}" if hosts != 1 else "one that is no host"
        raise MalformedRequest.at("host", expected="one Host header", found=found)
    if not chunked:
        raise MalformedRequest.at("transfer-encoding", expected="chunked", found="another coding")


def head_too_large(limits: Limits) -> HeadersTooLarge:
    """Return the error for a head beyond its limits."""
    expected = f"at most {limits.header_count} headers of {limits.header_bytes} bytes together"
    return HeadersTooLarge.at("headers", expected=expected, found="more")


def head_without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """Return a request's head as bytes, without the wish for another protocol."""
    lines = [b"%s %s HTTP/%s" % (method, url, version.encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def farewell(error: ServingError, ids: RequestIds, headers: Headers) -> bytes:
    """Return an error as the bytes of an answer after which the connection is closed.

    It bears the id that the client has given its request, where its head, of which this may be the beginning, has one.
    """
    given = [value for name, value in headers if name == HEADER.encode()]
    reply = error_reply(error)
    own = {
        "content-type": reply.media_type,
        "content-length": str(len(reply.body)),
        "connection": "close",
        HEADER: ids.of({HEADER: b", ".join(given).decode("latin-1")}),
        **dict(reply.headers),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    return STATUS_LINE[reply.status] + lines.encode() + b"\r\n" + reply.body
