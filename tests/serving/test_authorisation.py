"""Every route asks for its scope; who is refused learns nothing, and leaves no trace but one count."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from serving.access import PREDICT, Access
from serving.errors import BodyTooLarge
from serving.keys import Scope
from serving.protocols.route import HttpRequest, Pending, Reply, Route
from serving.protocols.waiting import Waiting
from serving.request import InferResponse
from tests import toys
from tests.serving import credentials
from tests.serving.credentials import SCOPES, bearer, text_of
from tests.serving.desk import Desk, body_of, infer_body

MODEL, VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"

#: What each route asks for: one of these. This is the table of docs/security.md.
TABLE: dict[tuple[str, str], set[Scope] | None] = {
    ("GET", "/v2"): None,
    ("GET", "/v2/"): None,
    ("GET", "/v2/health/live"): None,
    ("GET", "/v2/health/ready"): None,
    ("GET", "/openapi.json"): {Scope.PREDICT, Scope.OBSERVE},
    ("GET", "/v2/models"): {Scope.PREDICT, Scope.OBSERVE},
    **{
        ("GET", f"{path}{end}"): {Scope.PREDICT, Scope.OBSERVE}
        for path in (MODEL, VERSION)
        for end in ("", "/ready", "/config")
    },
    **{("GET", f"{path}/stats"): {Scope.OBSERVE} for path in ("/v2/models", MODEL, VERSION)},
    **{("POST", f"{path}/infer"): {Scope.PREDICT} for path in (MODEL, VERSION)},
    ("POST", "/predict/{model}"): {Scope.PREDICT},
    ("GET", "/metrics"): {Scope.OBSERVE},
    ("POST", "/v2/repository/index"): {Scope.OBSERVE},
    ("POST", "/v2/repository/models/{model}/load"): {Scope.MANAGE},
    ("POST", "/v2/repository/models/{model}/unload"): {Scope.MANAGE},
}


@pytest.fixture
def desk(toy_repository: Path) -> Iterator[Desk]:
    desk = Desk(toy_repository, access=Access(credentials.known()), management=True)
    yield desk
    assert desk.value("sameway_in_flight") == 0
    desk.close()


def test_every_route_has_the_scopes_of_the_table(desk: Desk) -> None:
    assert {(route.method, route.path): route.scopes for route in desk.routes} == TABLE


@pytest.mark.parametrize("holder", SCOPES)
@pytest.mark.parametrize(("method", "path"), TABLE, ids="{0[0]} {0[1]}".format)
def test_a_key_opens_what_its_scopes_name_and_nothing_else(desk: Desk, method: str, path: str, holder: str) -> None:
    wanted = TABLE[method, path]
    address = path.replace("{model}", "toy").replace("{version}", "1")
    nobody = desk.ask(method, address)
    reply = desk.ask(method, address, headers=bearer(holder))
    if wanted is None:
        assert nobody.status == reply.status == 200
        return
    assert (nobody.status, body_of(nobody)["code"]) == (401, "unauthorized")
    assert dict(nobody.headers)["www-authenticate"] == "Bearer"
    if wanted & SCOPES[holder]:
        assert reply.status in (200, 400)  # an empty body is no image, and no request for inference
    else:
        assert (reply.status, body_of(reply)["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"authorization": f"Bearer {text_of('all')}"}, True),
        ({"authorization": f"bEARER   {text_of('all')} "}, True),
        ({"x-api-key": text_of("all")}, True),
        ({"x-api-key": text_of("all"), "authorization": "Basic dTpw"}, True),  # a proxy's
        ({"x-api-key": "wrong", "authorization": f"Bearer {text_of('all')}"}, False),
        ({"x-api-key": ""}, False),
        ({"authorization": text_of("all")}, False),
        ({"authorization": f"Basic {text_of('all')}"}, False),
        ({"authorization": "Bearer"}, False),
        ({"authorization": f"Bearer {text_of('all')}, Bearer {text_of('all')}"}, False),
        ({"authorization": f"Bearer {text_of('all').upper()}"}, False),
        ({"authorization": f"Bearer {text_of('all')[:-1]}"}, False),
        ({"authorization": f"Bearer {text_of('all')}\xe9"}, False),
        ({"cookie": text_of("all")}, False),
    ],
)
def test_how_a_key_is_presented(desk: Desk, headers: dict[str, str], known: bool) -> None:
    assert desk.ask("GET", "/metrics", headers=headers).status == (200 if known else 401)


def told(reply: Reply) -> Reply:
    """Return what a reply says of the server: all but its own number, and how long it took."""
    own = ("server-timing", "x-request-id")
    return replace(reply, headers=tuple(header for header in reply.headers if header[0] not in own))


def test_a_stranger_cannot_tell_which_models_there_are(desk: Desk) -> None:
    for path in (MODEL, f"{MODEL}/ready", f"{MODEL}/versions/9/stats"):
        replies = [told(desk.ask("GET", path.replace("{model}", name))) for name in ("toy", "nobody")]
        assert replies[0] == replies[1]
        assert replies[0].status == 401
    assert told(desk.ask("POST", "/predict/nobody")) == told(desk.ask("POST", "/predict/toy"))
    assert (desk.ask("GET", "/nowhere").status, desk.ask("DELETE", "/metrics").status) == (404, 405)


def test_a_refused_request_is_counted_under_no_model(desk: Desk) -> None:
    body = infer_body(toys.images(1))
    for name in ("toy", "nobody"):
        desk.ask("POST", f"/v2/models/{name}/infer", body)
        desk.ask("POST", f"/v2/models/{name}/infer", body, bearer("observe"))
    desk.ask("GET", "/metrics")
    assert desk.outcomes() == {("", "", "refused", "unauthorized"): 2, ("", "", "refused", "forbidden"): 2}


def test_nothing_of_a_body_is_looked_at_before_the_key(desk: Desk) -> None:
    bomb = {"content-encoding": "gzip"}
    assert desk.ask("POST", "/v2/models/toy/infer", b"no gzip", bomb).status == 401
    assert desk.ask("POST", "/v2/models/toy/infer", b"no gzip", bomb | bearer("predict")).status == 400
    large = BodyTooLarge.at("body", expected="less", found="more")
    request = HttpRequest("POST", "/v2/models/toy/infer", {}, b"", time.monotonic())
    assert desk.dispatcher.refuse(request, large).status == 401


def test_a_head_is_turned_away_before_its_body_comes(desk: Desk) -> None:
    def head(path: str, holder: str | None = None) -> Reply | None:
        headers = {} if holder is None else bearer(holder)
        return desk.dispatcher.turned_away(HttpRequest("POST", path, headers, b"", time.monotonic()))

    for path in ("/v2/models/toy/infer", "/v2/repository/index"):
        reply = head(path)
        assert reply is not None
        assert reply.status == 401
    assert head("/v2/models/toy/infer", "predict") is None
    assert head("/nowhere") is None
    assert desk.outcomes() == {("", "", "refused", "unauthorized"): 1}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_without_keys_no_web_page_manages_models(toy_repository: Path, headers: dict[str, str], status: int) -> None:
    desk = Desk(toy_repository, management=True)
    assert desk.ask("POST", "/v2/repository/models/toy/load", headers=headers).status == status
    assert desk.ask("GET", "/v2/models/toy", headers=headers).status == 200
    desk.close()


def test_with_a_listener_of_its_own_management_is_there_and_inference_is_not(toy_repository: Path) -> None:
    access = Access(credentials.known(), management_listener=True)
    desk = Desk(toy_repository, access=access, management=True)

    def status(method: str, path: str, *, on_management: bool) -> int:
        request = HttpRequest(method, path, bearer("all"), b"", time.monotonic(), on_management=on_management)
        return desk.end(desk.dispatcher.handle(request)).status

    load, infer = "/v2/repository/models/toy/load", "/v2/models/toy/infer"
    assert [status("POST", load, on_management=here) for here in (True, False)] == [200, 403]
    assert [status("POST", infer, on_management=here) for here in (True, False)] == [403, 400]
    for path in ("/v2/health/ready", "/metrics", "/v2/models/toy"):
        assert [status("GET", path, on_management=here) for here in (True, False)] == [200, 200]
    desk.close()


class Held:
    """A route whose answers never come by themselves."""

    def __init__(self) -> None:
        self.futures: list[Future[InferResponse]] = []
        self.encode: Callable[[InferResponse], Reply] = lambda _: Reply(200, b"answer")

    def handle(self, _: HttpRequest) -> Pending:
        self.futures.append(Future())
        return Pending(self.futures[-1], time.monotonic() + 60, self.encode)


def broken(_: HttpRequest) -> Reply:
    raise ZeroDivisionError


def at_once(_: HttpRequest) -> Reply:
    return Reply(200, b"")


def answered(waiting: Waiting) -> None:
    waiting.future.set_result(None)
    waiting.reply()


def failed(waiting: Waiting) -> None:
    waiting.future.set_exception(ZeroDivisionError())
    waiting.reply()


def cancelled(waiting: Waiting) -> None:
    waiting.future.cancel()
    waiting.reply()


ENDS: dict[str, Callable[[Waiting], object]] = {
    "answered": answered,
    "failed": failed,
    "cancelled": cancelled,
    "expired": Waiting.expired,
    "interrupted": Waiting.interrupted,
    "abandoned": Waiting.abandoned,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_key_has_so_many_places_and_every_end_gives_one_back(
    toy_repository: Path, end: Callable[[Waiting], object]
) -> None:
    held = Held()
    more = [
        Route("GET", "/held", held.handle, scopes=PREDICT),
        Route("GET", "/broken", broken, scopes=PREDICT),
        Route("GET", "/at-once", at_once, scopes=PREDICT),
    ]
    desk = Desk(toy_repository, access=Access(credentials.known(concurrent=2)), more=more, load=False)
    for _ in range(5):
        waiting = [desk.begin("GET", "/held", headers=bearer("predict")) for _ in range(2)]
        refused = desk.begin("GET", "/at-once", headers=bearer("predict"))
        assert isinstance(refused, Reply)
        assert (refused.status, dict(refused.headers)["retry-after"]) == (429, "1")
        assert desk.ask("GET", "/at-once", headers=bearer("all")).status == 200  # another key's places are its own
        for one in waiting:
            assert isinstance(one, Waiting)
            end(one)
        for path, status in (("/broken", 500), ("/at-once", 200), ("/metrics", 403)):
            assert [desk.ask("GET", path, headers=bearer("predict")).status for _ in range(3)] == [status] * 3
    desk.close()
