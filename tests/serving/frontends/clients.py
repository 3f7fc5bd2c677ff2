"""Front ends under test, each behind the same few words: ask, and get the answer. Flask joins here."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol

import httpx

from serving.frontends.fastapi_app import create_app
from tests.serving.desk import Desk
from tests.serving.live import Answer
from tests.serving.sessions import PATIENCE


class Client(Protocol):
    """Asks one front end. Thread-safe."""

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer: ...

    def begin(self, method: str, path: str, body: bytes = b"") -> "Future[Answer]": ...

    def close(self) -> None: ...


class FastApiClient:
    """FastAPI in memory: its event loop runs in a thread, as the loop of a server does."""

    def __init__(self, desk: Desk) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        transport = httpx.ASGITransport(create_app(desk.dispatcher, desk.limits))
        self._client = httpx.AsyncClient(transport=transport, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self._submit(method, path, body, headers).result(PATIENCE)

    def begin(self, method: str, path: str, body: bytes = b"") -> "Future[Answer]":
        return self._submit(method, path, body, None)

    def _submit(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> "Future[Answer]":
        async def ask() -> Answer:
            reply = await self._client.request(method, f"http://test{path}", content=body, headers=headers)
            return Answer(reply.status_code, dict(reply.headers), reply.content)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


FRONTENDS: dict[str, Callable[[Desk], Client]] = {"fastapi": FastApiClient}
