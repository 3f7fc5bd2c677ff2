"""The least that answers over HTTP in Python: uvicorn, and one function around the session, without any framework.

What a request costs elsewhere is recorded relative to this: a machine that is slow today is slow for both.
"""

import functools
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from loadtests.benchmark import plain
from loadtests.benchmark.asking import as_bytes, as_json
from loadtests.benchmark.session import open_session, run
from loadtests.benchmark.side import BARE, Side
from loadtests.benchmark.work import BINARY, JSON

_VARIABLE = "BENCHMARK_MODEL"

_Message = MutableMapping[str, Any]  # Any: ASGI's messages are dictionaries of whatever a message has
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def side() -> Side:
    """Return the function in one process."""
    return Side(
        "bare uvicorn",
        BARE,
        (
            *(sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:create_app", "--port", "{port}"),
            *("--interface", "asgi3", "--lifespan", "off", "--no-access-log", "--log-level", "warning"),
        ),
        {JSON: functools.partial(as_json, "/json"), BINARY: functools.partial(as_bytes, "/binary")},
        {_VARIABLE: "{model}"},
    )


def create_app() -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """Return the application."""
    session = open_session(os.environ[_VARIABLE])

    async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if scope["path"] == "/json":
            content, answer = plain.JSON_TYPE, plain.to_json(run(session, plain.from_json(body)))
        else:
            content, answer = plain.BINARY_TYPE, run(session, plain.from_bytes(body)).tobytes()
        headers = [(b"content-type", content.encode()), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app
