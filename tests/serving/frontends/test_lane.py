"""Requests for models past the framework: the same answers, in the same order, and nobody's head is taken for another's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import toys
from tests.serving import credentials
from tests.serving.desk import infer_body, png
from tests.serving.live import Answer, LiveServer, request, serving

INFER = "/v2/models/toy/infer"


@pytest.fixture(scope="module", params=["fastapi", "flask"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("lane")
    toys.publish(root)
    toys.publish(root, "slow")
    (root / "slow" / "config.toml").write_text("queue_delay_seconds = 0.05")
    keys = credentials.write(tmp_path_factory.mktemp("keys"))
    with serving(root, "--frontend", request.param, "--keys", str(keys)) as server:
        yield server


def key(name: str) -> str:
    return f"authorization: Bearer {credentials.text_of(name)}"


def asked(number: int, model: str = "toy", *headers: str) -> bytes:
    """Return a request about images that nobody else asks about."""
    return request("POST", f"/v2/models/{model}/infer", infer_body(images(number), id=f"{number}"), key("predict"), *headers)


def images(number: int):  # type: ignore[no-untyped-def]
    pixels = toys.images(1).copy()
    pixels.flat[0] = number
    return pixels


def check(answer: Answer, number: int) -> None:
    assert answer.status == 200, answer.body
    told = answer.json()
    assert told["id"] == f"{number}"
    expected = toys.reference(images(number))["probabilities"]
    (found,) = [output for output in told["outputs"] if output["name"] == "probabilities"]
    np.testing.assert_allclose(found["data"], expected.ravel(), rtol=0, atol=1e-5)


def test_one_connection_asks_again_and_again(server: LiveServer) -> None:
    with server.connect() as connection:
        for number in range(40):
            check(connection.send(asked(number)).answer(), number)


def test_answers_come_in_the_order_of_the_requests_whoever_gives_them(server: LiveServer) -> None:
    with server.connect() as connection:
        connection.send(
            asked(1, "slow") + asked(2) + request("GET", "/v2") + asked(3, "slow") + request("GET", "/nowhere") + asked(4)
        )
        check(connection.answer(), 1)
        check(connection.answer(), 2)
        assert connection.answer().json()["name"] == "sameway"
        check(connection.answer(), 3)
        assert connection.answer().status == 404
        check(connection.answer(), 4)


def test_a_head_in_pieces_and_a_body_in_pieces(server: LiveServer) -> None:
    whole = asked(7)
    with server.connect() as connection:
        connection.send(*(whole[place : place + 61] for place in range(0, len(whole), 61)))
        check(connection.answer(), 7)


@pytest.mark.parametrize(("other", "status"), [("predict", 200), ("observe", 403), ("nobody", 401)])
def test_a_key_is_looked_at_with_every_request(server: LiveServer, other: str, status: int) -> None:
    body = infer_body(images(1), id="1")
    with server.connect() as connection:
        for _ in range(2):
            assert connection.send(request("POST", INFER, body, key("predict"))).answer().status == 200
        assert connection.send(request("POST", INFER, body, key(other))).answer().status == status
        if status != 200:  # who may not ask is told so before the body is read, on a connection that ends with it
            assert connection.closed()


def test_the_same_headers_for_another_path_are_another_request(server: LiveServer) -> None:
    body = infer_body(images(5), id="5")
    with server.connect() as connection:
        for path, status in (
            (INFER, 200),
            ("/v2/models/none/infer", 404),
            ("/v2/models/toy/versions/1/infer", 200),
            (INFER, 200),
        ):
            answer = connection.send(request("POST", path, body, key("predict"))).answer()
            assert answer.status == status, path
            if status == 200:
                check(answer, 5)
        assert connection.send(request("GET", INFER, b"", key("predict"))).answer().status == 405


@pytest.mark.parametrize("header", ["connection: close", "expect: 100-continue", "x-thing: a", "Content-Encoding: identity"])
def test_what_else_a_head_says_is_heard(server: LiveServer, header: str) -> None:
    with server.connect() as connection:
        check(connection.send(asked(3, "toy", header)).answer(), 3)
        if header == "connection: close":
            assert connection.closed()
        else:
            check(connection.send(asked(4)).answer(), 4)


def test_an_older_client_is_answered_too(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.send(asked(3).replace(b"HTTP/1.1", b"HTTP/1.0")).answer()
        check(answer, 3)
        assert connection.closed()


def test_a_body_in_chunks_is_answered_too(server: LiveServer) -> None:
    body = infer_body(images(9), id="9")
    head = request("POST", INFER, b"", key("predict"), "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
    with server.connect() as connection:
        check(connection.send(head, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)).answer(), 9)
        check(connection.send(asked(10)).answer(), 10)


def test_every_answer_says_what_answers_say(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.send(asked(1, "toy", "X-Request-Id: mine-1")).answer()
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["sameway-version"].startswith("toy/1 sha256:")
    stages = [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")]
    assert stages == ["decode", "queue", "batch", "compute", "encode", "total"]
    assert answer.headers["content-type"] == "application/json"
    assert "date" in answer.headers


def test_an_image_goes_the_same_way(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.send(request("POST", "/predict/toy", png(images(2)[0]), key("predict"))).answer()
        assert answer.status == 200, answer.body
        check(connection.send(asked(2)).answer(), 2)


def test_a_path_may_be_written_in_another_way(server: LiveServer) -> None:
    body = infer_body(images(6), id="6")
    with server.connect() as connection:
        check(connection.send(request("POST", "/v2/models/%74oy/infer?x=1", body, key("predict"))).answer(), 6)


def test_a_body_that_is_too_large_is_refused_before_it_comes(server: LiveServer) -> None:
    with server.connect() as connection:
        check(connection.send(asked(1)).answer(), 1)
        head = asked(1).partition(b"content-length")[0] + b"content-length: 99999999999\r\n\r\n"
        assert connection.send(head).answer().status == 413
        assert connection.closed()


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_whatever_is_not_answered_at_once_gives_its_keys_place_back(tmp_path: Path, frontend: str) -> None:
    toys.publish(tmp_path / "models")
    keys = credentials.write(tmp_path, concurrent=2)
    with serving(tmp_path / "models", "--frontend", frontend, "--keys", str(keys)) as server, server.connect() as connection:
        for number in range(40):
            check(connection.send(asked(number)).answer(), number)
        for _ in range(6):
            assert connection.send(request("POST", INFER, b'{"inputs":[]}', key("predict"))).answer().status == 400
            late = infer_body(images(1), id="1", parameters={"timeout": 9_000_000})
            check(connection.send(request("POST", INFER, late, key("predict"))).answer(), 1)
            first = infer_body(images(2), id="2", parameters={"priority": 1})
            check(connection.send(request("POST", INFER, first, key("predict"))).answer(), 2)
            many = infer_body(toys.images(64), id="3")
            assert connection.send(request("POST", INFER, many, key("predict"))).answer().status in (200, 400)
        for number in range(4):
            check(connection.send(asked(number)).answer(), number)
        assert server.value("sameway_in_flight", headers=credentials.bearer("observe")) == 0
