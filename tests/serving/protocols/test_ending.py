"""Every request ends once: with the headers that each answer has, and with one record for whoever observes."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from serving.access import PREDICT, Access
from serving.errors import BodyTooLarge
from serving.protocols.ending import Ended
from serving.protocols.route import HttpRequest, Pending, Reply, Route
from serving.protocols.waiting import Waiting
from serving.request import InferResponse
from tests import toys
from tests.serving import credentials
from tests.serving.desk import Desk, infer_body, png

INFER = "/v2/models/toy/infer"
GOOD = infer_body(toys.images(2))


class Notes:
    """An observer that keeps every record."""

    def __init__(self) -> None:
        self.all: list[Ended] = []

    def finished(self, ended: Ended) -> None:
        self.all.append(ended)

    def close(self) -> None:
        pass

    def only(self) -> Ended:
        (ended,) = self.all
        return ended


def held(_: HttpRequest) -> Pending:
    return Pending(Future(), time.monotonic() + 60, lambda _: Reply(200, b""))


def broken(_: HttpRequest) -> Reply:
    raise ZeroDivisionError("secret")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def desk(toy_repository: Path, notes: Notes) -> Iterator[Desk]:
    more = [Route("POST", "/held/{model}", held, inference=True), Route("GET", "/broken", broken)]
    desk = Desk(toy_repository, more=more, observers=[notes])
    yield desk
    desk.close()


CASES = [
    ("POST", INFER, GOOD, 200, "ok", "", INFER.replace("toy", "{model}"), "toy", "1"),
    ("POST", "/predict/toy", png(toys.images(1)[0]), 200, "ok", "", "/predict/{model}", "toy", "1"),
    ("POST", INFER, b"{", 400, "refused", "malformed_request", INFER.replace("toy", "{model}"), "toy", "1"),
    ("POST", INFER.replace("toy", "no"), GOOD, 404, "refused", "model_not_found", INFER.replace("toy", "{model}"), "", ""),
    ("GET", "/v2/models/toy", b"", 200, "ok", "", "/v2/models/{model}", "", ""),
    ("HEAD", "/v2", b"", 200, "ok", "", "/v2", "", ""),
    ("GET", "/metrics", b"", 200, "ok", "", "/metrics", "", ""),
    ("GET", "/nowhere", b"", 404, "refused", "not_found", None, "", ""),
    ("DELETE", "/v2", b"", 405, "refused", "method_not_allowed", None, "", ""),
    ("GET", "/broken", b"", 500, "failed", "internal_error", "/broken", "", ""),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "outcome", "reason", "route", "model", "version"),
    CASES,
    ids=[f"{method} {path} {status}" for method, path, _, status, *_ in CASES],
)
def test_an_end_has_its_headers_and_its_record(
    desk: Desk,
    notes: Notes,
    method: str,
    path: str,
    body: bytes,
    status: int,
    outcome: str,
    reason: str,
    route: str | None,
    model: str,
    version: str,
) -> None:
    reply = desk.ask(method, path, body, {"x-request-id": "mine"})
    headers = dict(reply.headers)
    assert len(headers) == len(reply.headers)  # none twice
    assert (reply.status, headers["x-request-id"]) == (status, "mine")
    assert re.search(r"(^|, )total;dur=\d+\.\d{3}$", headers["server-timing"])
    ended = notes.only()
    assert (ended.status, ended.outcome, ended.reason, ended.route) == (status, outcome, reason, route)
    assert (ended.request_id, ended.method, ended.path) == ("mine", method, path)
    assert (ended.model, ended.version) == (model, version)
    assert (ended.bytes_in, ended.bytes_out) == (len(body), 0 if method == "HEAD" else len(reply.body))
    assert 0 <= ended.ended - ended.received < 60


def test_a_model_s_answer_tells_its_rows_and_stages_that_fit_into_its_time(desk: Desk, notes: Notes) -> None:
    reply = desk.ask("POST", INFER, GOOD)
    ended = notes.only()
    assert ended.response is not None
    assert ended.response.rows == 2
    timings = ended.response.timings
    queue = timings.queued
    answered = queue + timings.queue + timings.join + timings.run + timings.split
    assert ended.received <= queue <= answered <= ended.encoding <= ended.ended
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", dict(reply.headers)["server-timing"]))
    assert list(stages) == ["decode", "queue", "batch", "compute", "encode", "total"]
    assert sum(float(stages[name]) for name in stages if name != "total") <= float(stages["total"]) + 0.005


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (lambda waiting: waiting.expired(), 504, "deadline_exceeded"),
        (lambda waiting: waiting.interrupted(), 503, "model_not_ready"),
        (lambda waiting: waiting.abandoned(), 499, "cancelled"),
    ],
    ids=["expired", "interrupted", "abandoned"],
)
def test_whoever_stops_waiting_ends_the_request_once(
    desk: Desk, notes: Notes, end: Callable[[Waiting], Reply | None], status: int, reason: str
) -> None:
    waiting = desk.begin("POST", "/held/toy")
    assert isinstance(waiting, Waiting)
    assert notes.all == []
    end(waiting)
    ended = notes.only()
    assert (ended.status, ended.reason, ended.model, ended.response) == (status, reason, "toy", None)
    assert (ended.bytes_out == 0) == (status == 499)


@pytest.mark.parametrize("path", [INFER, "/nowhere"])
def test_what_a_front_end_could_not_read_ends_like_the_rest(desk: Desk, notes: Notes, path: str) -> None:
    request = HttpRequest("POST", path, {}, b"", time.monotonic(), "192.0.2.1")
    reply = desk.dispatcher.refuse(request, BodyTooLarge.at("body", expected="less", found="more"))
    ended = notes.only()
    assert (ended.status, ended.reason, ended.address) == (413, "body_too_large", "192.0.2.1")
    assert dict(reply.headers)["x-request-id"] == ended.request_id


def test_a_fault_of_ours_is_logged_with_the_id_that_its_client_has(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    reply = desk.ask("GET", "/broken")
    assert f"request_id={dict(reply.headers)['x-request-id']} " in caplog.text


def test_a_record_holds_no_body(desk: Desk, notes: Notes) -> None:
    desk.ask("POST", INFER, GOOD)
    assert GOOD not in [getattr(notes.only(), name) for name in Ended.__slots__]


def test_answers_without_a_model_are_not_taken_for_one(desk: Desk, notes: Notes) -> None:
    future: Future[InferResponse | None] = Future()
    future.set_result(None)
    request = HttpRequest("POST", "/", {}, b"", time.monotonic())
    waiting = Waiting(desk.dispatcher, Route("POST", "/", held), request, Pending(future, 0.0, lambda _: Reply(200, b"{}")))
    assert "sameway-version" not in dict(waiting.reply().headers)
    assert notes.only().response is None


def test_who_was_refused_is_named_by_its_key(toy_repository: Path) -> None:
    notes = Notes()
    access = Access(credentials.known(concurrent=1))
    desk = Desk(toy_repository, access=access, observers=[notes], load=False)
    try:
        admission = access.admit(PREDICT, credentials.bearer("predict"), on_management=False)
        for path, name, status in (("/metrics", "predict", 403), (INFER, "predict", 429)):
            method = "GET" if path == "/metrics" else "POST"
            assert desk.ask(method, path, b"", credentials.bearer(name)).status == status
            assert notes.all[-1].client == name
        assert desk.ask("GET", "/metrics", b"", {"authorization": "Bearer nobody"}).status == 401
        assert notes.all[-1].client is None
        admission.end()
    finally:
        desk.close()
