"""What every front end promises: the same requests get the same answers, byte for byte, and every error has its form."""

import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.errors import (
    BodyTooLarge,
    Cancelled,
    DeadlineExceeded,
    Forbidden,
    HeadersTooLarge,
    InferenceFailed,
    InternalError,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    ModelNotReady,
    NotFound,
    Overloaded,
    RequestTimeout,
    ServerBusy,
    ServingError,
    Unauthorized,
    Unsupported,
    UnsupportedEncoding,
    UriTooLong,
)
from serving.limits import Limits
from serving.protocols.route import HttpRequest, Reply, Route
from tests import toys
from tests.serving import graphs
from tests.serving.desk import Desk, infer_body, png
from tests.serving.frontends.clients import FRONTENDS, Client
from tests.serving.live import Answer
from tests.serving.sessions import PATIENCE

INFER = "/v2/models/toy/infer"
LIMITS = Limits(body_bytes=100_000)


def broken(_: HttpRequest) -> Reply:
    raise ZeroDivisionError("secret")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frontends")
    toys.publish(root, "toy")
    graphs.publish_lookup(root)
    (toys.publish(root, "broken").path / "model.onnx").unlink()
    for name, config in {"hasty": "timeout_seconds = 0.02", "slow": "timeout_seconds = 60"}.items():
        toys.publish(root, name)
        (root / name / "config.toml").write_text(f"{config}\nqueue_delay_seconds = 10\nqueue_rows = 8")
    return root


@pytest.fixture
def desk(root: Path) -> Iterator[Desk]:
    desk = Desk(root, limits=LIMITS, more=[Route("GET", "/fault", broken)])
    yield desk
    desk.close()
    assert desk.value("sameway_in_flight") == 0


@pytest.fixture(params=FRONTENDS)
def client(request: pytest.FixtureRequest, desk: Desk) -> Iterator[Client]:
    client = FRONTENDS[request.param](desk)
    yield client
    client.close()


def test_answers_are_those_of_the_reference(client: Client) -> None:
    for count in (1, 2, 7, 8):
        pixels = toys.images(count, seed=count)
        answer = client.ask("POST", INFER, infer_body(pixels))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["content-length"] == str(len(answer.body))
        found = np.array(answer.json()["outputs"][0]["data"]).reshape(count, 3)
        np.testing.assert_allclose(found, toys.reference(pixels)["probabilities"], atol=1e-5)


def test_every_inference_answer_carries_version_and_stage_times(client: Client) -> None:
    for path, body in ((INFER, infer_body(toys.images(1))), ("/predict/toy", png(toys.images(1)[0]))):
        headers = client.ask("POST", path, body).headers
        assert headers["sameway-version"].startswith("toy/1 sha256:")
        assert headers["server-timing"].startswith("decode;dur=")


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/metrics", "/nowhere", INFER, "/v2/models/nobody/ready"])
def test_every_answer_carries_its_request_s_id_and_its_time(client: Client, path: str) -> None:
    for method in ("GET", "POST"):
        headers = client.ask(method, path, b"", {"x-request-id": "mine"}).headers
        assert headers["x-request-id"] == "mine"
        assert "total;dur=" in headers["server-timing"]
        assert client.ask(method, path, b"", {"x-request-id": "not mine"}).headers["x-request-id"] not in ("", "not mine")


@pytest.mark.parametrize("content_type", [None, "application/json", "application/octet-stream", "text/plain", "junk/;;="])
def test_no_decision_is_made_by_content_type(client: Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert client.ask("POST", INFER, infer_body(toys.images(1)), headers).status == 200


#: What the path of a request means to the routes, where that is not the path itself.
MEANT = {
    "/v2/models/%74oy": "/v2/models/toy",
    "/v2/models/%2574oy": "/v2/models/%74oy",
    "/v2/models/a%2Fb": "/v2/models/a/b",
    "/v2/health/live?x=1": "/v2/health/live",
    "/%C3%A9": "/é",
    "/%00": "/\0",
}
GETS = [
    "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/toy", "/v2/models/toy/versions/1/ready",
    "/v2/models/broken/ready", "/", "//", "//v2", "/v2/health/live/", "/v2/models//ready", "/docs", "/redoc",
    "/openapi.json", INFER, *MEANT,
]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_each_request_gets_the_very_answer_of_the_routes(client: Client, desk: Desk, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        expected = desk.ask(method, MEANT.get(path, path), headers={"x-request-id": "mine"})
        answer = client.ask(method, path, b"", {"x-request-id": "mine"})
        assert (answer.status, answer.body) == (expected.status, expected.body)
        assert answer.headers["content-type"] == expected.media_type
        of_the_moment = {"server-timing": answer.headers["server-timing"]}
        assert {**dict(expected.headers), **of_the_moment}.items() <= answer.headers.items()


def test_nothing_is_redirected(client: Client) -> None:
    for path in ("/v2/health/live/", "/v2/models/toy/", "/metrics/", "//v2", "/predict/toy/"):
        assert client.ask("GET", path).status == 404


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/metrics", "/nowhere", INFER, "/v2/models/broken/ready"])
def test_head_has_the_head_of_a_get_and_no_body(client: Client, path: str) -> None:
    got, headed = client.ask("GET", path), client.ask("HEAD", path)
    assert (headed.status, headed.body) == (got.status, b"")
    assert headed.headers.get("allow") == got.headers.get("allow")
    if path != "/metrics":  # which changes as it is looked at
        named = got.body.count(b"GET")  # a 405 names the method, which is one letter longer
        assert int(headed.headers["content-length"]) == len(got.body) + (named if got.status == 405 else 0)


def overload(client: Client) -> Answer:
    """Fill the queue of a model that waits for company, and return what the next one is told."""
    waiting = [client.begin("POST", "/v2/models/slow/infer", infer_body(toys.images(7))) for _ in range(2)]
    refused, waits = concurrent.futures.wait(waiting, PATIENCE, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in waits:
        future.cancel()
    return refused.pop().result()


#: Every error, with a request that provokes it; None for those that are never written to the wire.
PROVOKED: dict[type[ServingError], Callable[[Client], Answer] | None] = {
    MalformedRequest: lambda client: client.ask("POST", INFER, b"{"),
    InvalidInput: lambda client: client.ask("POST", INFER, infer_body(toys.images(9))),
    Unsupported: lambda client: client.ask("POST", "/predict/lookup", b"x"),
    NotFound: lambda client: client.ask("GET", "/nowhere"),
    ModelNotFound: lambda client: client.ask("POST", "/v2/models/nobody/infer", b"{}"),
    MethodNotAllowed: lambda client: client.ask("DELETE", INFER),
    BodyTooLarge: lambda client: client.ask("POST", INFER, b"x" * (LIMITS.body_bytes + 1)),
    Overloaded: overload,
    InferenceFailed: lambda client: client.ask(
        "POST", "/v2/models/lookup/infer", b'{"inputs":[{"name":"place","datatype":"INT64","shape":[1],"data":[99]}]}'
    ),
    InternalError: lambda client: client.ask("GET", "/fault"),
    ModelNotReady: lambda client: client.ask("POST", "/v2/models/broken/infer", infer_body(toys.images(1))),
    DeadlineExceeded: lambda client: client.ask("POST", "/v2/models/hasty/infer", infer_body(toys.images(1))),
    Forbidden: lambda client: client.ask("POST", "/v2/repository/models/toy/load"),
    UnsupportedEncoding: lambda client: client.ask("POST", INFER, b"x", {"content-encoding": "br"}),
    # tests/serving/test_authorisation.py: this desk has no keys.
    Unauthorized: None,
    # The HTTP edge's own; test_http_edge.py and the conformance suite provoke them.
    RequestTimeout: None,
    UriTooLong: None,
    HeadersTooLarge: None,
    ServerBusy: None,
    Cancelled: None,
}


def test_every_error_is_provoked_below() -> None:
    assert set(ServingError.__subclasses__()) == set(PROVOKED)


@pytest.mark.parametrize("kind", [kind for kind, provoke in PROVOKED.items() if provoke], ids=lambda kind: kind.__name__)
def test_an_error_has_its_status_its_code_and_the_one_form_of_all_errors(client: Client, kind: type[ServingError]) -> None:
    provoke = PROVOKED[kind]
    assert provoke is not None
    answer = provoke(client)
    assert (answer.status, answer.headers["content-type"]) == (kind.http_status, "application/json")
    body = answer.json()
    assert body["code"] == kind.code
    assert body["error"]
    assert set(body) <= {"error", "code", "field", "expected", "found"}
    assert all(isinstance(value, str) for value in body.values())
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert ("retry-after" in answer.headers) == (kind is Overloaded)
    assert ("allow" in answer.headers) == (kind is MethodNotAllowed)


@pytest.mark.parametrize("size", [LIMITS.body_bytes, LIMITS.body_bytes + 1])
def test_the_limit_on_bodies_is_exact(client: Client, size: int) -> None:
    body = infer_body(toys.images(1))
    answer = client.ask("POST", INFER, body + b" " * (size - len(body)))
    assert answer.status == (200 if size == LIMITS.body_bytes else 413)


def test_concurrent_requests_get_each_its_own_answer(client: Client) -> None:
    pixels = toys.images(200)
    waiting = []
    answers = []
    for row in pixels:
        waiting.append(client.begin("POST", INFER, infer_body(row[np.newaxis])))
        if len(waiting) == 20:
            answers += [future.result(PATIENCE).json() for future in waiting]
            waiting.clear()
    found = np.array([answer["outputs"][0]["data"] for answer in answers])
    np.testing.assert_allclose(found, toys.reference(pixels)["probabilities"], atol=1e-5)


def test_what_was_asked_is_what_the_metrics_count(client: Client, desk: Desk) -> None:
    for _ in range(5):
        client.ask("POST", INFER, infer_body(toys.images(3)))
    client.ask("POST", INFER, b"{")
    client.ask("POST", INFER, b"x" * (LIMITS.body_bytes + 1))
    client.ask("GET", "/v2/health/live")
    assert desk.outcomes() == {
        ("toy", "1", "ok", ""): 5,
        ("toy", "1", "refused", "malformed_request"): 1,
        ("toy", "1", "refused", "body_too_large"): 1,
    }
    assert b'sameway_batch_rows_sum{model="toy",version="1"}' in client.ask("GET", "/metrics").body
