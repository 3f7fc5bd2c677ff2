"""The dispatch that every request goes through: what it finds, what it refuses, and that it counts each end exactly once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from serving.errors import BodyTooLarge, InferenceFailed, Overloaded, ServingError
from serving.protocols.route import HttpRequest, Pending, Reply, Route
from serving.protocols.waiting import Waiting
from serving.request import InferResponse, Timings
from tests import toys
from tests.serving.desk import Desk, body_of, infer_body

Counts = dict[tuple[str, str, str, str], float]


def ok(request: HttpRequest) -> Reply:
    return Reply(200, request.parameters.get("a", "").encode() + request.body)


def broken(_: HttpRequest) -> Reply:
    raise ZeroDivisionError("secret")


class Held:
    """A route whose answer the test gives when it wants to."""

    def __init__(self) -> None:
        self.future: Future[InferResponse] = Future()
        self.encode: Callable[[InferResponse], Reply] = lambda _: Reply(200, b"answer")

    def handle(self, _: HttpRequest) -> Pending:
        return Pending(self.future, time.monotonic() + 60, self.encode)

    def answer(self) -> None:
        self.future.set_result(InferResponse("toy", 1, "", {"y": np.zeros(1)}, None, Timings(0, 0, 0, 0)))


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def desk(toy_repository: Path, held: Held) -> Iterator[Desk]:
    more = [
        Route("GET", "/a/{a}/b", ok),
        Route("PUT", "/a/{a}/b", ok),
        Route("GET", "/a.b", ok),
        Route("GET", "/broken", broken),
        Route("POST", "/broken/{model}", broken, inference=True),
        Route("POST", "/at-once/{model}", ok, inference=True),
        Route("POST", "/held/{model}", held.handle, inference=True),
    ]
    desk = Desk(toy_repository, more=more)
    yield desk
    assert desk.value("sameway_in_flight") == 0
    desk.close()


@pytest.mark.parametrize(("path", "found"), [("/a/x/b", b"x"), ("/a/é x/b", "é x".encode()), ("/a/../b", b"..")])
def test_a_segment_in_braces_stands_for_any_one_segment(desk: Desk, path: str, found: bytes) -> None:
    assert desk.ask("GET", path).body == found


NOWHERE = [
    "", "*", "/", "//", "/a//b", "/a/x/y/b", "/a/x/b/", "//a/x/b", "/A/x/b", "/a/x/b\n", "/aXb", "/v2//", "/v2/health",
    "/v2/health/live/", "/v2/models/", "/v2/models//infer", "/v2/models/toy/", "/metrics/", "/\0",
    "/" + "a" * 9_999,
]  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE)
def test_every_other_path_is_404_and_comes_back_short(desk: Desk, path: str) -> None:
    reply = desk.ask("GET", path)
    assert (reply.status, body_of(reply)["code"], reply.media_type) == (404, "not_found", "application/json")
    assert len(reply.body) < 1_500


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/a/x/b", "GET, HEAD, PUT"),
        ("DELETE", "/v2", "GET, HEAD"),
        ("OPTIONS", "/v2", "GET, HEAD"),
        ("GET", "/v2/models/toy/infer", "POST"),
        ("HEAD", "/v2/models/toy/infer", "POST"),
        ("OPTIONS", "/v2/models/nobody/infer", "POST"),
        ("TRACE", "/predict/toy", "POST"),
        ("get", "/v2", "GET, HEAD"),
    ],
)
def test_another_method_is_405_and_told_which_are_allowed(desk: Desk, method: str, path: str, allowed: str) -> None:
    reply = desk.ask(method, path)
    assert (reply.status, dict(reply.headers)["allow"]) == (405, allowed)
    assert body_of(reply)["found"] == method


def test_head_is_answered_as_get(desk: Desk) -> None:
    head, get = desk.ask("HEAD", "/v2"), desk.ask("GET", "/v2")
    assert (head.status, head.body, head.media_type) == (get.status, get.body, get.media_type)


def test_a_fault_of_ours_is_500_and_says_nothing_of_itself(desk: Desk) -> None:
    for method, path in (("GET", "/broken"), ("POST", "/broken/toy")):
        reply = desk.ask(method, path)
        assert (reply.status, body_of(reply)["code"]) == (500, "internal_error")
        assert b"secret" not in reply.body
        assert b"Division" not in reply.body


def test_requests_that_are_not_for_inference_are_not_counted(desk: Desk) -> None:
    for path in ("/v2", "/broken", "/nowhere", "/metrics"):
        desk.ask("GET", path)
    desk.ask("GET", "/v2/models/toy/infer")
    assert desk.outcomes() == {}


def test_each_way_in_which_a_request_can_end_is_counted_once(desk: Desk) -> None:
    good = infer_body(toys.images(1))
    for body in (good, good, b"{", infer_body(toys.images(9))):
        desk.ask("POST", "/v2/models/toy/infer", body)
    desk.ask("POST", "/v2/models/toy/versions/9/infer", good)
    desk.ask("POST", "/broken/toy")
    assert desk.outcomes() == {
        ("toy", "1", "ok", ""): 2,
        ("toy", "1", "refused", "malformed_request"): 1,
        ("toy", "1", "refused", "invalid_input"): 1,
        ("toy", "", "refused", "model_not_found"): 1,
        ("toy", "1", "failed", "internal_error"): 1,
    }
    assert desk.value("sameway_request_seconds_count", model="toy", version="1") == 2


def test_no_label_comes_from_a_client(desk: Desk) -> None:
    for number in range(200):
        desk.ask("POST", f"/v2/models/junk-{number}/infer", infer_body(toys.images(1)))
        desk.ask("POST", f"/v2/models/toy/versions/{number + 2}/infer", infer_body(toys.images(1)))
        desk.ask("POST", f"/predict/junk-{number}", b"x")
    assert desk.outcomes() == {
        ("", "", "refused", "model_not_found"): 400,
        ("toy", "", "refused", "model_not_found"): 200,
    }
    assert b"junk" not in desk.ask("GET", "/metrics").body


def test_a_model_that_is_not_ready_is_counted_under_its_name(tmp_path: Path) -> None:
    (toys.publish(tmp_path, "broken").path / "model.onnx").unlink()
    desk = Desk(tmp_path)
    assert desk.ask("POST", "/v2/models/broken/infer", infer_body(toys.images(1))).status == 503
    assert desk.outcomes() == {("broken", "", "failed", "model_not_ready"): 1}
    desk.close()


def test_a_request_waits_in_flight_until_it_has_its_answer(desk: Desk, held: Held) -> None:
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    assert desk.value("sameway_in_flight") == 1
    held.answer()
    assert waiting.reply().body == b"answer"
    assert desk.outcomes() == {("toy", "1", "ok", ""): 1}


def test_an_inference_route_may_answer_at_once(desk: Desk) -> None:
    reply = desk.ask("POST", "/at-once/toy", b"x")
    assert (reply.status, reply.body) == (200, b"x")
    assert desk.value("sameway_in_flight") == 0
    assert desk.outcomes() == {("toy", "1", "ok", ""): 1}


@pytest.mark.parametrize(
    ("end", "status", "counted"),
    [
        (lambda waiting: waiting.expired(), 504, ("failed", "deadline_exceeded")),
        (lambda waiting: waiting.interrupted(), 503, ("failed", "model_not_ready")),
        (lambda waiting: waiting.abandoned(), None, ("cancelled", "cancelled")),
    ],
    ids=["expired", "interrupted", "abandoned"],
)
def test_whoever_stops_waiting_cancels_the_request(
    desk: Desk, held: Held, end: Callable[[Waiting], Reply | None], status: int | None, counted: tuple[str, str]
) -> None:
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    reply = end(waiting)
    assert held.future.cancelled()
    assert (None if reply is None else reply.status) == status
    assert desk.outcomes() == {("toy", "1", *counted): 1}


@pytest.mark.parametrize(
    ("error", "status", "counted"),
    [
        (InferenceFailed("the model could not"), 500, ("failed", "inference_failed")),
        (Overloaded("full", retry_after_seconds=7), 429, ("refused", "overloaded")),
        (ZeroDivisionError("secret"), 500, ("failed", "internal_error")),
    ],
)
def test_an_error_of_the_engine_becomes_its_reply(
    desk: Desk, held: Held, error: Exception, status: int, counted: tuple[str, str]
) -> None:
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    held.future.set_exception(error)
    reply = waiting.reply()
    assert (reply.status, b"secret" in reply.body) == (status, False)
    if isinstance(error, ServingError) and error.retry_after_seconds is not None:
        assert dict(reply.headers)["retry-after"] == "7"
    assert desk.outcomes() == {("toy", "1", *counted): 1}


def test_a_request_that_the_engine_cancelled_is_counted_cancelled(desk: Desk, held: Held) -> None:
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    held.future.cancel()
    assert waiting.reply().status == 499
    assert desk.outcomes() == {("toy", "1", "cancelled", "cancelled"): 1}


def test_an_answer_that_cannot_be_encoded_is_500_and_not_counted_as_right(desk: Desk, held: Held) -> None:
    held.encode = lambda _: broken(HttpRequest("GET", "/", {}, b"", 0.0))
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    held.answer()
    assert waiting.reply().status == 500
    assert desk.outcomes() == {("toy", "1", "failed", "internal_error"): 1}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v2/models/toy/infer", {("toy", "1", "refused", "body_too_large"): 1.0}),
        ("POST", "/v2/models/nobody/infer", {("", "", "refused", "body_too_large"): 1.0}),
        ("POST", "/v2/repository/index", {}),
        ("POST", "/nowhere", {}),
    ],
)
def test_what_a_front_end_could_not_read_is_refused_and_counted_like_the_rest(
    desk: Desk, method: str, path: str, expected: Counts
) -> None:
    request = HttpRequest(method, path, {}, b"", time.monotonic())
    reply = desk.dispatcher.refuse(request, BodyTooLarge.at("body", expected="less", found="more"))
    assert (reply.status, body_of(reply)["code"]) == (413, "body_too_large")
    assert desk.outcomes() == expected


def test_metrics_are_prometheus_text(desk: Desk) -> None:
    desk.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1)))
    reply = desk.ask("GET", "/metrics")
    assert (reply.status, reply.media_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'sameway_requests_total{model="toy",outcome="ok",reason="",version="1"} 1.0\n' in reply.body
    assert b'sameway_model_state{model="toy",state="ready",version="1"} 1.0\n' in reply.body
