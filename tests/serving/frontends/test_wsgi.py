import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.frontends.wsgi import WsgiEndpoint
from serving.limits import Limits
from serving.protocols.route import HttpRequest
from tests import toys
from tests.serving.desk import Desk

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
    endpoint._inside, endpoint._kept_seconds = inside, kept
    error = endpoint._overload(HttpRequest("POST", path, {}, b"", time.monotonic()))
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
    return endpoint._kept_seconds


def test_the_time_a_request_keeps_its_thread_is_measured(endpoint: WsgiEndpoint) -> None:
    assert asyncio.run(_asked(endpoint)) > 0.0
