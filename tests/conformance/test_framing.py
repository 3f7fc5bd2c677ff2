"""Bytes that are no HTTP/1.1, or that two servers in a row could read differently: refused, and the connection ended.

RFC 9112 ("HTTP/1.1") says which; where it leaves a choice, this server refuses.
"""

import pytest

from tests.conformance.cases import HEADER_LENGTH, body, dump, infer
from tests.conformance.raw import Connection, ask, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_error, assert_honest

_BODY = dump(body())
#: What an attacker hides in a body, in the hope that the next server takes it for a request.
_HIDDEN = b"GET /v2 HTTP/1.1\r\nHost: hidden\r\n\r\n"


def _get(lines: bytes, *, line: bytes = b"GET /v2/health/live HTTP/1.1") -> bytes:
    return line + b"\r\n" + lines + b"\r\n"


def _post(*headers: bytes, data: bytes = _BODY) -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"Host: localhost", *headers))
    return b"POST " + infer("identity_fp32").encode() + b" HTTP/1.1\r\n" + lines + b"\r\n" + data


def _chunked(data: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", data=data)


_LENGTH = b"Content-Length: %d" % len(_BODY)
_WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY)

HOSTS = {
    "no host": _get(b""),
    "two hosts": _get(b"Host: a\r\nHost: b\r\n"),
    "one host twice": _get(b"Host: a\r\nHost: a\r\n"),
    **{
        f"host {host!r}": _get(b"Host: " + host + b"\r\n")
        for host in (b"a b", b"a/b", b"a@b", b"a\\b", b"a?b", b"a#b", b"a, b", b"<a>", b'"a"', b"a\xff", b"{a}")
    },
}

LENGTHS = {
    f"length {name}": _post(*(b"Content-Length: " + value for value in values))
    for name, values in {
        "empty": [b""],
        "a word": [b"abc"],
        "negative": [b"-1"],
        "minus zero": [b"-0"],
        "with a sign": [b"+%d" % len(_BODY)],
        "a fraction": [b"%d.0" % len(_BODY)],
        "hexadecimal": [b"0x10"],
        "with an underscore": [b"1_0"],
        "with a blank": [b"1 0"],
        "of 2⁶⁴": [b"%d" % 2**64],
        "of 5,000 digits": [b"9" * 5000],
        "a list": [b"%d, %d" % (len(_BODY), len(_BODY))],
        "twice": [b"%d" % len(_BODY)] * 2,
        "twice, differing": [b"%d" % len(_BODY), b"0"],
    }.items()
}

CODINGS = {
    "length and coding": _post(_LENGTH, b"Transfer-Encoding: chunked", data=_WHOLE),
    "coding and length": _post(b"Transfer-Encoding: chunked", _LENGTH, data=_WHOLE),
    "coding and length 0": _post(b"Content-Length: 0", b"Transfer-Encoding: chunked", data=_WHOLE + _HIDDEN),
    "coding and a length that hides": _post(b"Content-Length: 4", b"Transfer-Encoding: chunked",
    data=b"0\r\n\r\n" + _HIDDEN),
    "coding twice": _post(*[b"Transfer-Encoding: chunked"] * 2, data=_WHOLE),
    "two codings": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", data=_WHOLE),
    "coding with a blank before the colon": _post(b"Transfer-Encoding : chunked", data=_WHOLE),
    **{
        f"coding {coding!r}": _post(b"Transfer-Encoding: " + coding, data=_WHOLE)
        for coding in (
            b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx",
            b"chunked;q=1", b"\x0bchunked", b"\x0cchunked", b"chunked\x0b", b'"chunked"', b"chunked,", b",chunked",
            b"\xffchunked",
        )
    },
}  # fmt: skip

CHUNKS = {
    f"chunk {name}": _chunked(data)
    for name, data in {
        "size no number": b"g\r\n",
        "size negative": b"-1\r\n",
        "size with a sign": b"+1\r\na\r\n0\r\n\r\n",
        "size 0x1": b"0x1\r\na\r\n0\r\n\r\n",
        "size missing": b"\r\na\r\n0\r\n\r\n",
        "size of 2⁶⁴": b"10000000000000000\r\na",
        "size with a blank before": b" 1\r\na\r\n0\r\n\r\n",
        "size with an underscore": b"1_0\r\na",
        "size of other digits": b"\xb2\r\na",
        "longer than told": b"1\r\nab\r\n0\r\n\r\n",
        "without its end": b"1\r\na0\r\n\r\n",
        "end of one byte": b"1\r\na\n0\r\n\r\n",
        "extension with a zero": b"1;a=\0\r\na\r\n0\r\n\r\n",
        "extension with a bare line feed": b"1;a\nb\r\na\r\n0\r\n\r\n",
    }.items()
}

HEADERS = {
    f"header {name}": _get(b"Host: a\r\n" + lines + b"\r\n")
    for name, lines in {
        "folded": b"X-A: 1\r\n 2",
        "folded with a tab": b"X-A: 1\r\n\t2",
        "folded first": b" X-A: 1",
        "without a colon": b"X-A",
        "without a name": b": 1",
        "with a blank before its colon": b"X-A : 1",
        "with a blank in its name": b"X A: 1",
        "with a bracket in its name": b"X(A): 1",
        "with a zero in its name": b"X\0A: 1",
        "with other letters in its name": "X-Ä: 1".encode(),
        "with a zero": b"X-A: \0",
        "with a bare return": b"X-A: 1\rX-B: 2",
        "with a control character": b"X-A: \x01",
        "with a delete": b"X-A: \x7f",
    }.items()
}

LINES = {
    f"line {line[:40]!r}": _get(b"Host: a\r\n", line=line)
    for line in (
        b"GET", b"GET /v2", b"GET /v2 HTTP/1.1 ", b"GET /v2 HTTP/1.1 x", b"GET\t/v2\tHTTP/1.1",
        b" GET /v2 HTTP/1.1", b"get /v2 HTTP/1.1", b"FOO /v2 HTTP/1.1", b"G\0T /v2 HTTP/1.1", b"/v2 HTTP/1.1",
        b"GET v2 HTTP/1.1",
        b"GET /v2 HTTP/2.0", b"GET /v2 HTTP/0.9", b"GET /v2 HTTP/1.2", b"GET /v2 HTTP/11", b"GET /v2 HTTP/1.1.1",
        b"GET /v2 HTTP/-1.1",
        b"GET /v2 http/1.1", b"GET /v2 HTTPS/1.1", b"GET /v2 FTP/1.1", b"GET /\xff HTTP/1.1", b"GET /\xc3\xbc HTTP/1.1",
        b"GET /a\x01 HTTP/1.1", b"GET /a\x7f HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET http:// HTTP/1.1",
        b"GET http:///v2 HTTP/1.1",
        b"GET /v2 ICE/1.0", b"PRI * HTTP/2.0", b"A" * 5000, b"CONNECT /v2 HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1",
    )
}  # fmt: skip

OTHERS = {
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(100),
    "JSON": _BODY + b"\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}

REFUSED = {**HOSTS, **LENGTHS, **CODINGS, **CHUNKS, **HEADERS, **LINES, **OTHERS}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in REFUSED.items()])
def test_what_could_be_read_differently_is_refused(server: Server, data: bytes) -> None:
    with Connection(server) as connection:
        connection.send_while_taken(data + _HIDDEN)
        assert_error(connection.answer(), 400, code="malformed_request")
        assert connection.rest() == b""
    assert ask(server, "GET", "/v2/health/live").status == 200


ACCEPTED = {
    "a host of nothing": _get(b"Host:\r\n"),
    "a host with its port": _get(b"Host: localhost:80\r\n"),
    "a host that is an address": _get(b"Host: [::1]:80\r\n"),
    "blanks around a value": _get(b"Host: \t localhost \t \r\n"),
    "a length with a tab behind": _post(_LENGTH + b"\t"),
    "a coding in capitals": _post(b"transfer-encoding: Chunked", data=_WHOLE),
    "chunks with extensions": _chunked(b'%x;a="b"\r\n%b\r\n0;c\r\n\r\n' % (len(_BODY), _BODY)),
    "a chunk's size with zeros": _chunked(b"000000%x\r\n%b\r\n000\r\n\r\n" % (len(_BODY), _BODY)),
    "a byte a chunk": _chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in _BODY) + b"0\r\n\r\n"),
    "other letters in a value": _get(b"Host: a\r\nX-A: \xff\xc3\xbc\r\n"),
    "a length with zeros": _post(b"Content-Length: 000%d" % len(_BODY)),
    "an empty line before": b"\r\n" + _get(b"Host: a\r\n"),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in ACCEPTED.items()])
def test_what_can_only_be_read_one_way_is_answered(zoo_server: Server, data: bytes) -> None:
    with Connection(zoo_server) as connection:
        connection.send(data)
        assert connection.answer().status == 200
        assert_honest(zoo_server, connection)


TRAILERS = {
    "one": b"X-A: 1\r\n",
    "a host": b"Host: b\r\n",
    "a coding": b"Content-Encoding: br\r\n",
    "a length of the head": HEADER_LENGTH.encode() + b": 3\r\n",
    "an upgrade": b"Upgrade: h2c\r\n",
    "as many as no head may have": b"X-A: 1\r\n" * 200,
}


@pytest.mark.parametrize("trailers", [pytest.param(data, id=name) for name, data in TRAILERS.items()])
def test_a_trailer_is_no_header(zoo_server: Server, trailers: bytes) -> None:
    with Connection(zoo_server) as connection:
        connection.send(_chunked(_WHOLE[:-2] + trailers + b"\r\n"))
        assert connection.answer().status == 200
        assert_honest(zoo_server, connection)


LISTS = {
    "coding of the body": (b"Content-Encoding: gzip", b"Content-Encoding: identity", 415),
    "coding of the body, once none": (b"Content-Encoding: identity", b"Content-Encoding: identity", 415),
    "length of the head": (b"%s: 1" % HEADER_LENGTH.encode(), b"%s: %d" % (HEADER_LENGTH.encode(), len(_BODY)), 400),
    "length of the head, the same": (b"%s: %d" % (HEADER_LENGTH.encode(), len(_BODY)),) * 2 + (400,),
}


@pytest.mark.parametrize(("first", "second", "status"), [pytest.param(*values, id=name) for name, values in LISTS.items()])
def test_of_two_headers_none_is_picked(zoo_server: Server, first: bytes, second: bytes, status: int) -> None:
    with Connection(zoo_server) as connection:
        connection.send(_post(_LENGTH, first, second))
        assert_error(connection.answer(), status)
        assert_honest(zoo_server, connection)


def test_a_body_is_never_taken_for_a_request(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        connection.send(request("POST", infer("identity_fp32"), _HIDDEN))
        assert_error(connection.answer(), 400, code="malformed_request", field="body")
        assert_honest(zoo_server, connection)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_request_is_the_same_in_pieces(zoo_server: Server, size: int) -> None:
    data = _post(_LENGTH)
    with Connection(zoo_server) as connection:
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        assert connection.answer().json()["outputs"][0]["data"] == [1.5, 2.5, 3.5]
