"""A connection that is closed ends, whether its client reads or not."""

import asyncio
import socket

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from serving.frontends.http_edge import HttpEdge
from serving.frontends.shared import Process
from serving.limits import Limits
from tests.serving.live import request
from tests.serving.sessions import PATIENCE

#: More than the socket below holds, less than makes a transport tell that it cannot write.
_ANSWER = bytes(60_000)
_HEADERS = [(b"connection", b"close"), (b"content-length", b"60000")]


async def _answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


async def _asked(limits: Limits, *, reads: bool) -> bytes:
    """Ask on a connection of little room, wait until the server has let go of it, and return what came."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        config = uvicorn.Config(_answer, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        edge = HttpEdge(config, state, {}, limits=limits, process=Process(limits))
        await loop.connect_accepted_socket(lambda: edge, theirs)
        await loop.sock_sendall(ours, request("GET", "/"))
        received = b""
        while reads and (data := await loop.sock_recv(ours, 4096)):
            received += data
        async with asyncio.timeout(PATIENCE):
            while edge in state.connections:
                await asyncio.sleep(0.001)
        return received


def test_a_client_that_does_not_read_loses_its_connection_though_little_is_unsent() -> None:
    asyncio.run(_asked(Limits(write_seconds=0.05), reads=False))


def test_a_client_that_reads_gets_all() -> None:
    assert asyncio.run(_asked(Limits(), reads=True)).endswith(_ANSWER)
