"""What is ASGI's own: how a body comes, how a client leaves, how a server stops, how others mount the endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from serving.frontends.asgi import LEAVING
from serving.frontends.fastapi_app import Endpoint, create_app
from serving.limits import Limits
from tests import toys
from tests.serving.desk import Desk, infer_body
from tests.serving.sessions import PATIENCE

SLOW = "/v2/models/slow/infer"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("asgi")
    toys.publish(root, "toy")
    toys.publish(root, "slow")
    (root / "slow" / "config.toml").write_text("queue_delay_seconds = 10\ntimeout_seconds = 60")
    return root


@pytest.fixture
def desk(root: Path) -> Iterator[Desk]:
    desk = Desk(root, limits=Limits(body_bytes=10_000))
    yield desk
    assert desk.value("sameway_in_flight") == 0
    desk.close()


class Exchange:
    """One request to the application, message by message."""

    def __init__(self, desk: Desk, path: str, body: bytes = b"", **scope: Any) -> None:  # Any: as ASGI types a scope
        self.scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": [], **scope}
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self._app = Endpoint(desk.dispatcher, desk.limits)
        self.inbox.put_nowait({"type": "http.request", "body": body})

    async def run(self) -> None:
        async def send(message: Message) -> None:
            self.sent.append(message)

        await self._app(self.scope, self.inbox.get, send)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), PATIENCE)

    asyncio.run(bounded())


def test_a_body_in_pieces_is_one_body(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/models/toy/infer")
        exchange.inbox.get_nowait()
        body = infer_body(toys.images(2))
        for start in range(0, len(body), 7):
            exchange.inbox.put_nowait({"type": "http.request", "body": body[start : start + 7], "more_body": True})
        exchange.inbox.put_nowait({"type": "http.request"})
        await exchange.run()
        assert exchange.status == 200

    run(main)


def test_a_body_that_breaks_off_gets_no_answer_and_is_counted(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/models/toy/infer")
        exchange.inbox.get_nowait()
        exchange.inbox.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        exchange.inbox.put_nowait({"type": "http.disconnect"})
        await exchange.run()
        assert exchange.sent == []

    run(main)
    assert desk.outcomes() == {("toy", "1", "cancelled", "cancelled"): 1}


@pytest.mark.parametrize("length", [b"10001", b"1099511627776", b"9" * 4_000])
def test_a_body_that_declares_too_much_is_refused_unread(desk: Desk, length: bytes) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/models/toy/infer", headers=[(b"content-length", length)])
        await exchange.run()
        assert exchange.status == 413
        assert (b"connection", b"close") in exchange.sent[0]["headers"]
        assert exchange.inbox.qsize() == 1

    run(main)


def test_a_body_that_grows_too_large_is_refused_as_soon_as_it_is(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/models/toy/infer")
        exchange.inbox.get_nowait()
        for _ in range(100):
            exchange.inbox.put_nowait({"type": "http.request", "body": b"x" * 3_000, "more_body": True})
        await exchange.run()
        assert exchange.status == 413
        assert exchange.inbox.qsize() == 96

    run(main)


@pytest.mark.parametrize("edge", [False, True], ids=["any server", "our edge"])
def test_a_client_that_leaves_while_it_waits_gets_its_entry_removed(desk: Desk, edge: bool) -> None:
    async def main() -> None:
        leaving: list[Callable[[], None]] = []

        def watch(leaves: Callable[[], None]) -> Callable[[], None]:
            leaving.append(leaves)
            return leaving.clear

        exchange = Exchange(desk, SLOW, infer_body(toys.images(3)), extensions={LEAVING: watch} if edge else {})
        task = asyncio.create_task(exchange.run())
        await until(lambda: desk.value("sameway_queue_rows", model="slow", version="1") == 3)
        if edge:
            leaving[0]()
        else:
            exchange.inbox.put_nowait({"type": "http.disconnect"})
        await task
        assert exchange.sent == []
        assert not leaving

    run(main)
    assert desk.value("sameway_queue_rows", model="slow", version="1") == 0
    assert desk.outcomes() == {("slow", "1", "cancelled", "cancelled"): 1}


def test_when_the_server_stops_waiting_the_client_is_told_503(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, SLOW, infer_body(toys.images(1)))
        task = asyncio.create_task(exchange.run())
        await until(lambda: desk.value("sameway_queue_rows", model="slow", version="1") == 1)
        task.cancel()
        await task
        assert exchange.status == 503
        assert b'"code":"model_not_ready"' in exchange.sent[1]["body"]
        assert (b"connection", b"close") in exchange.sent[0]["headers"]

    run(main)
    assert desk.value("sameway_queue_rows", model="slow", version="1") == 0


def test_when_the_server_stops_in_the_middle_of_a_body_the_client_is_told_503(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, SLOW)
        exchange.inbox.get_nowait()
        exchange.inbox.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        task = asyncio.create_task(exchange.run())
        await until(exchange.inbox.empty)
        task.cancel()
        await task
        assert exchange.status == 503
        assert b'"code":"model_not_ready"' in exchange.sent[1]["body"]

    run(main)


def test_the_answer_to_a_head_has_no_body_and_the_length_of_the_one_it_stands_for(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/health/live", method="HEAD")
        await exchange.run()
        assert (b"content-length", b"13") in exchange.sent[0]["headers"]
        assert [message.get("body") for message in exchange.sent[1:]] == [b""]

    run(main)


def test_after_the_answer_nobody_listens_to_the_connection_any_more(desk: Desk) -> None:
    async def main() -> None:
        exchange = Exchange(desk, "/v2/models/toy/infer", infer_body(toys.images(1)))
        await exchange.run()
        assert exchange.status == 200
        await until(lambda: len(asyncio.all_tasks()) <= 2)  # this one, and the one that bounds its time

    run(main)


def test_what_is_not_http_is_refused(desk: Desk) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="expected an http scope, found websocket"):
            await Exchange(desk, "/", type="websocket").run()

    run(main)


def test_the_application_offers_nothing_of_its_own(desk: Desk) -> None:
    app = create_app(desk.dispatcher, desk.limits)
    assert app.routes == []


def test_an_application_of_your_own_can_mount_the_endpoint(desk: Desk) -> None:
    app = FastAPI()

    @app.get("/mine")
    def mine() -> str:
        return "mine"

    app.mount("/models", Endpoint(desk.dispatcher, desk.limits))

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/mine")).json() == "mine"
            assert (await client.get("/models/v2/health/live")).json() == {"live": True}
            answer = await client.post("/models/v2/models/toy/infer", content=infer_body(toys.images(1)))
            assert answer.json()["model_name"] == "toy"
            assert (await client.get("/models/nowhere")).json()["error"] == "no such path: '/nowhere'"

    run(main)
