"""HTTP's less common turns: Expect, Upgrade, HTTP/1.0, HEAD, OPTIONS, and a connection that somebody closes."""

import pytest

from tests.conformance.cases import body, dump, infer
from tests.conformance.hostile_paths import KNOWN
from tests.conformance.raw import Connection, ask, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import HONEST, HONEST_BODY, assert_error, assert_honest

_PATH = infer("identity_fp32")
_BODY = dump(body())


def _assert_answered(connection: Connection) -> None:
    answer = connection.answer()
    assert answer.status == 200, answer.body
    assert answer.json()["outputs"][0]["data"] == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("word", ["100-continue", "100-Continue"])
def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(zoo_server: Server, word: str) -> None:
    whole = request("POST", _PATH, _BODY, {"Expect": word})
    with Connection(zoo_server) as connection:
        connection.send(whole[: -len(_BODY)])
        assert connection.answer().status == 100
        connection.send(_BODY)
        _assert_answered(connection)
        assert_honest(zoo_server, connection)


@pytest.mark.parametrize("coding", ["Content-Length", "Transfer-Encoding"])
def test_a_client_that_does_not_wait_is_answered(zoo_server: Server, coding: str) -> None:
    with Connection(zoo_server) as connection:
        if coding == "Content-Length":
            connection.send(request("POST", _PATH, _BODY, {"Expect": "100-continue"}))
        else:
            head = request("POST", _PATH, headers={"Expect": "100-continue", "Transfer-Encoding": "chunked"})
            connection.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY))
        answer = connection.answer()
        if answer.status == 100:  # it need not be said to one who has sent the body already
            answer = connection.answer()
        assert answer.status == 200
        assert_honest(zoo_server, connection)


def test_nobody_is_asked_for_a_body_that_will_be_refused(zoo_server: Server) -> None:
    with Connection(zoo_server) as connection:
        connection.send(request("POST", _PATH, b"", {"Expect": "100-continue", "Content-Length": str(2**40)}))
        assert_error(connection.answer(), 413, code="body_too_large")


UPGRADES = {
    "HTTP/2, as Java's client asks": {
        "Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
    },
    "WebSocket": {
        "Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    },
    "TLS": {"Connection": "keep-alive, Upgrade", "Upgrade": "TLS/1.0"},
    "nothing known": {"Connection": "Upgrade", "Upgrade": "x"},
}  # fmt: skip


@pytest.mark.parametrize("headers", [pytest.param(headers, id=name) for name, headers in UPGRADES.items()])
def test_a_wish_for_another_protocol_is_passed_over(zoo_server: Server, headers: dict[str, str]) -> None:
    with Connection(zoo_server) as connection:
        connection.send(request("GET", "/v2/health/live", headers=headers))
        assert connection.answer().json() == {"live": True}
        connection.send(request("POST", _PATH, _BODY, headers))
        _assert_answered(connection)
        head = request("POST", _PATH, headers={**headers, "Transfer-Encoding": "chunked"})
        connection.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY))
        _assert_answered(connection)
        # In pieces, and with the next request behind it.
        whole = request("POST", _PATH, _BODY, headers) + request("POST", HONEST, HONEST_BODY)
        for start in range(0, len(whole), 50):
            connection.send(whole[start : start + 50])
        _assert_answered(connection)
        assert connection.answer().status == 200
        assert_honest(zoo_server, connection)


def test_a_wish_for_another_protocol_opens_no_back_door(zoo_server: Server) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
    for wrong, status in (
        (request("POST", _PATH, b"", {**headers, "Content-Length": str(2**40)}), 413),
        (request("GET", "/v2", headers={**headers, "X-A": "a" * 33_000}), 431),
        (request("GET", "/v2", headers=headers).replace(b"Host: localhost\r\n", b""), 400),
    ):
        with Connection(zoo_server) as connection:
            connection.send_while_taken(wrong)
            assert_error(connection.answer(), status)


@pytest.mark.parametrize("host", ["", "Host: localhost\r\n"])
def test_http_1_0_is_answered_and_the_connection_closed(zoo_server: Server, host: str) -> None:
    with Connection(zoo_server) as connection:
        connection.send(f"GET /v2/health/live HTTP/1.0\r\n{host}\r\n".encode())
        assert connection.answer().json() == {"live": True}
        assert connection.rest() == b""
    with Connection(zoo_server) as connection:
        connection.send(f"POST {_PATH} HTTP/1.0\r\n{host}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY)
        _assert_answered(connection)
        assert connection.rest() == b""


def test_a_connection_is_closed_when_the_client_asks_for_it(server: Server) -> None:
    with Connection(server) as connection:
        connection.send(request("GET", "/v2/health/live", headers={"Connection": "close"}))
        answer = connection.answer()
        assert answer.status == 200
        assert answer.closes
        assert connection.rest() == b""


@pytest.mark.parametrize(
    "path", [*(case.path for case in KNOWN), "/nothing", "/v2/models/nobody", "/v2/models/absent/ready"]
)
def test_head_says_what_get_says_without_a_body(zoo_server: Server, path: str) -> None:
    with Connection(zoo_server) as connection:
        connection.send(request("GET", path))
        whole = connection.answer()
        connection.send(request("HEAD", path))
        head = connection.answer(head=True)
        assert (head.status, head.headers["content-type"]) == (whole.status, whole.headers["content-type"])
        # What has been counted meanwhile may have one digit more.
        assert abs(int(head.headers["content-length"]) - len(whole.body)) < 20
        assert_honest(zoo_server, connection)


ALLOWED = {
    "/v2": "GET, HEAD",
    "/v2/": "GET, HEAD",
    "/v2/health/ready": "GET, HEAD",
    "/v2/models/toy": "GET, HEAD",
    "/v2/models/toy/versions/1/stats": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/metrics": "GET, HEAD",
    "/v2/models/toy/infer": "POST",
    "/v2/models/nobody/versions/7/infer": "POST",
    "/v2/repository/index": "POST",
    "/v2/repository/models/toy/load": "POST",
    "/predict/toy": "POST",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_options_tells_what_is_allowed(server: Server, path: str) -> None:
    for method in ("OPTIONS", "DELETE"):
        answer = ask(server, method, path)
        assert_error(answer, 405, code="method_not_allowed", field="method")
        assert answer.headers["allow"] == ALLOWED[path]


def test_head_where_there_is_no_get(server: Server) -> None:
    answer = ask(server, "HEAD", "/predict/toy")
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"")


def test_the_server_is_at_v2_with_and_without_a_slash(server: Server) -> None:
    assert ask(server, "GET", "/v2").body == ask(server, "GET", "/v2/").body


def test_nobody_is_sent_elsewhere(server: Server) -> None:
    for path in ("//v2", "/v2//health/live", "/v2/health/live/", "/v2/health/./live", "/v2/models/toy/"):
        answer = ask(server, "GET", path)
        assert_error(answer, 404)
        assert "location" not in answer.headers
