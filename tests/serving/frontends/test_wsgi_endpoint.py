import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.types import Message, Scope

from serving.frontends.asgi import LEAVING as EDGE_LEAVING
from serving.frontends.flask_app import create_app
from serving.frontends.wsgi_endpoint import WsgiEndpoint
from serving.limits import Limits
from serving.protocols.route import HttpRequest
from tests import toys
from tests.serving.desk import Desk, infer_body
from tests.serving.sessions import PATIENCE

#: Two threads, and a line of eight; the toy's requests may take 10 seconds.
LIMITS = Limits(wsgi_threads=2, wsgi_waiting=8)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[WsgiEndpoint]:
    toys.publish(tmp_path)
    desk = Desk(tmp_path, limits=LIMITS)
    yield WsgiEndpoint(lambda _environ, _start: [], desk.dispatcher, LIMITS)
    desk.close()


def overload(endpoint: WsgiEndpoint, *, inside: int, kept: float, path: str = "/v2/models/toy/infer") -> int | None:
    """Return the Retry-After of a request that comes when so many are inside, each for so long; None if it may wait."""
    endpoint.line.inside, endpoint.line.kept_seconds = inside, kept
    error = endpoint.line.overload(HttpRequest("POST", path, {}, b"", time.monotonic()))
    return None if error is None else error.retry_after_seconds


def test_a_request_that_finds_a_thread_never_waits_in_line(endpoint: WsgiEndpoint) -> None:
    assert overload(endpoint, inside=1, kept=1e6) is None


def test_before_anything_was_measured_the_line_is_as_long_as_its_limit(endpoint: WsgiEndpoint) -> None:
    assert overload(endpoint, inside=9, kept=0.0) is None
    assert overload(endpoint, inside=10, kept=0.0) == 1


def test_a_full_line_says_when_it_will_have_been_served(endpoint: WsgiEndpoint) -> None:
    assert overload(endpoint, inside=10, kept=0.7) == 4


def test_who_would_get_a_thread_only_after_his_time_is_refused_at_once(endpoint: WsgiEndpoint) -> None:
    assert overload(endpoint, inside=3, kept=4.0) is None
    assert overload(endpoint, inside=6, kept=6.0) == 15


def test_a_request_that_has_no_time_of_its_own_may_wait(endpoint: WsgiEndpoint) -> None:
    assert overload(endpoint, inside=6, kept=6.0, path="/metrics") is None
    assert overload(endpoint, inside=6, kept=6.0, path="/v2/models/unknown/infer") is None


async def _asked(endpoint: WsgiEndpoint) -> float:
    """Ask once, and return what the endpoint has measured."""
    request = HttpRequest("GET", "/v2", {}, b"", time.monotonic())
    scope = {"type": "http", "method": "GET", "http_version": "1.1", "query_string": b"", "extensions": {}}

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    await endpoint._run(request, scope, receive)
    return endpoint.line.kept_seconds


def test_the_time_a_request_keeps_its_thread_is_measured(endpoint: WsgiEndpoint) -> None:
    assert asyncio.run(_asked(endpoint)) > 0.0


class Exchange:
    """One request to the real Flask application behind the endpoint; the queue delay of `slow` keeps it waiting."""

    def __init__(self, desk: Desk, endpoint: WsgiEndpoint, method: str, path: str, body: bytes = b"") -> None:
        self.leave: Callable[[], None] = lambda: None
        self.sent: list[Message] = []
        self._endpoint = endpoint
        self._body = body
        extensions = {EDGE_LEAVING: self._watch}
        self._scope: Scope = {"type": "http", "method": method, "path": path, "http_version": "1.1", "headers": []}
        self._scope["extensions"] = extensions

    def _watch(self, leaves: Callable[[], None]) -> Callable[[], None]:
        self.leave = leaves
        return lambda: None

    async def run(self) -> "Exchange":
        async def receive() -> Message:
            return {"type": "http.request", "body": self._body}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self._endpoint(self._scope, receive, send)
        return self


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Desk]:
    toys.publish(tmp_path, "slow")
    (tmp_path / "slow" / "config.toml").write_text("queue_delay_seconds = 10\ntimeout_seconds = 60")
    desk = Desk(tmp_path, limits=LIMITS)
    yield desk
    assert desk.value("sameway_in_flight") == 0
    desk.close()


async def _begun(desk: Desk, exchange: Exchange, inside: int) -> "asyncio.Task[Exchange]":
    """Begin a request, and wait until it is inside."""
    task = asyncio.create_task(exchange.run())
    async with asyncio.timeout(PATIENCE):
        while desk.value("sameway_in_flight") < inside:
            await asyncio.sleep(0.001)
    return task


def _infer(desk: Desk, endpoint: WsgiEndpoint) -> Exchange:
    return Exchange(desk, endpoint, "POST", "/v2/models/slow/infer", infer_body(toys.images(1)))


def test_probes_and_metrics_need_no_thread(slow: Desk) -> None:
    endpoint = WsgiEndpoint(create_app(slow.dispatcher), slow.dispatcher, LIMITS)

    async def main() -> None:
        held = [_infer(slow, endpoint) for _ in range(2)]
        tasks = [await _begun(slow, exchange, number + 1) for number, exchange in enumerate(held)]
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/v2", "/v2/models/slow/ready"):
            probe = await asyncio.wait_for(Exchange(slow, endpoint, "GET", path).run(), PATIENCE)
            assert probe.sent[0]["status"] == 200, path
        for exchange in held:
            exchange.leave()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_server_that_stops_tells_who_has_a_thread_and_who_waits_for_one(slow: Desk) -> None:
    endpoint = WsgiEndpoint(create_app(slow.dispatcher), slow.dispatcher, LIMITS)

    async def main() -> None:
        exchanges = [_infer(slow, endpoint) for _ in range(3)]
        tasks = [await _begun(slow, exchange, min(number + 1, 2)) for number, exchange in enumerate(exchanges)]
        while endpoint.line.inside < 3:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        for exchange in exchanges:
            assert exchange.sent[0]["status"] == 503
            assert (b"connection", b"close") in exchange.sent[0]["headers"]
            assert json.loads(exchange.sent[1]["body"])["code"] == "model_not_ready"

    asyncio.run(main())
    assert sum(slow.outcomes().values()) == 3
    assert {(outcome, reason) for _, _, outcome, reason in slow.outcomes()} == {("failed", "model_not_ready")}


def test_a_client_that_leaves_frees_its_thread_and_is_counted_once(slow: Desk) -> None:
    endpoint = WsgiEndpoint(create_app(slow.dispatcher), slow.dispatcher, LIMITS)

    async def main() -> None:
        exchange = _infer(slow, endpoint)
        task = await _begun(slow, exchange, 1)
        exchange.leave()
        await asyncio.wait_for(task, PATIENCE)
        assert exchange.sent == []

    asyncio.run(main())
    assert slow.outcomes() == {("slow", "1", "cancelled", "cancelled"): 1}


def test_an_application_that_breaks_off_is_logged(slow: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def breaks_off(_environ: object, _start: object) -> Iterator[bytes]:
        yield b"half"
        raise ValueError("the cause")

    endpoint = WsgiEndpoint(breaks_off, slow.dispatcher, LIMITS)
    exchange = asyncio.run(_infer(slow, endpoint).run())
    assert exchange.sent[0]["status"] == 500
    assert b"the cause" not in exchange.sent[1]["body"]
    assert "event=internal_error" in caplog.text
    assert "the cause" in caplog.text
