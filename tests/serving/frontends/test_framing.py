"""The framing rules as functions; over sockets they are tested in tests/conformance/test_framing.py."""

import pytest

from serving.errors import HeadersTooLarge, MalformedRequest, ServerBusy
from serving.frontends.framing import check_head, farewell, head_without_upgrade
from serving.limits import Limits
from serving.protocols.request_id import RequestIds

LIMITS = Limits(header_bytes=100)
HOST = (b"host", b"here:80")


@pytest.mark.parametrize(
    ("method", "version", "headers"),
    [
        (b"GET", "1.1", [HOST]),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b" Chunked ")]),
        (b"GET", "1.0", []),
        (b"GET", "1.1", [(b"host", b"[::1]:8000")]),
        (b"GET", "1.1", [HOST, (b"x", b"y" * 88)]),
    ],
)
def test_a_head_as_everybody_reads_it_may_pass(method: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
    check_head(method, version, headers, LIMITS)


@pytest.mark.parametrize(
    ("method", "version", "headers", "field"),
    [
        (b"GET", "1.1", [], "host"),
        (b"GET", "1.1", [HOST, HOST], "host"),
        (b"GET", "1.0", [HOST, HOST], "host"),
        (b"GET", "1.1", [(b"host", b"a b")], "host"),
        (b"GET", "1.1", [(b"host", b"a/b")], "host"),
        (b"GET", "0.9", [HOST], "version"),
        (b"GET", "2.0", [HOST], "version"),
        (b"CONNECT", "1.1", [HOST], "method"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")], "transfer-encoding"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"")], "transfer-encoding"),
        # Who breaks several rules is told of the first.
        (b"CONNECT", "1.1", [(b"transfer-encoding", b"gzip")], "method"),
        (b"POST", "1.1", [(b"transfer-encoding", b"gzip")], "host"),
    ],
)
def test_a_head_that_could_be_read_otherwise_is_refused(
    method: bytes, version: str, headers: list[tuple[bytes, bytes]], field: str
) -> None:
    with pytest.raises(MalformedRequest) as refused:
        check_head(method, version, headers, LIMITS)
    assert refused.value.field == field


def test_a_head_one_byte_over_its_limit_is_refused() -> None:
    with pytest.raises(HeadersTooLarge):
        check_head(b"GET", "1.1", [HOST, (b"x", b"y" * 89)], LIMITS)


def test_the_wish_for_another_protocol_is_left_out_and_nothing_else() -> None:
    headers = [HOST, (b"upgrade", b"h2c"), (b"content-length", b"3")]
    head = head_without_upgrade(b"POST", b"/v2?a=b", "1.1", headers)
    assert head == b"POST /v2?a=b HTTP/1.1\r\nhost: here:80\r\ncontent-length: 3\r\n\r\n"


def test_a_farewell_is_a_whole_answer_that_ends_the_connection_and_bears_the_client_s_id() -> None:
    said = farewell(ServerBusy("no more", retry_after_seconds=1), RequestIds(), [(b"x-request-id", b"mine")])
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 503 ")
    assert {"connection: close", "x-request-id: mine", "retry-after: 1", f"content-length: {len(body)}"} <= set(lines)
    assert b'"code":"server_busy"' in body


def test_a_farewell_takes_no_id_that_is_not_allowed() -> None:
    said = farewell(ServerBusy("no more"), RequestIds(), [(b"x-request-id", b"a"), (b"x-request-id", b"b")])
    assert b"x-request-id: a, b\r\n" not in said
    assert b"x-request-id: " in said
