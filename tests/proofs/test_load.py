import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import repeat
from typing import Any

import pytest

from proofs.load import Outcome, Request, burst, closed_load, open_load, percentile, post

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nSameway-Version: work/3 sha256:ab\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}"
LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
ASK = Request(post("test", "/", b"hello"), right=lambda body: body == b"ok")


class Peer:
    """A server that answers every request with the same bytes, or does whatever a test says."""

    def __init__(self, answer: bytes = OK) -> None:
        self.connections = self.requests = 0
        self.answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(5) == b"hello"
                self.requests += 1
                writer.write(self.answer)
        writer.close()


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> AsyncIterator[int]:
    peers: list[asyncio.Future[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(asyncio.ensure_future(serve(reader, writer)))
        await peers[-1]

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*peers, return_exceptions=True)
    await asyncio.sleep(0)  # for transports that are closing


async def asked(peer: Peer, *requests: Request) -> list[Outcome]:
    async with listening(peer.serve) as port:
        return await burst("127.0.0.1", port, requests)


def test_an_answer_is_read_with_all_that_proofs_look_at() -> None:
    (outcome,) = asyncio.run(asked(Peer(), ASK))
    assert (outcome.status, outcome.good, outcome.version, outcome.retry_after) == (200, True, "work/3 sha256:ab", None)
    assert 0 < outcome.seconds < 20
    (refused,) = asyncio.run(asked(Peer(BUSY), ASK))
    assert (refused.status, refused.good, refused.retry_after, refused.lost) == (429, False, 7, False)


def test_a_wrong_answer_is_not_good() -> None:
    (outcome,) = asyncio.run(asked(Peer(OK.replace(b"\r\n\r\nok", b"\r\n\r\nno")), ASK))
    assert (outcome.status, outcome.right, outcome.good) == (200, False, False)


def test_an_answer_in_pieces_is_one_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    async def run() -> list[Outcome]:
        async with listening(serve) as port:
            return await burst("127.0.0.1", port, [ASK])

    (outcome,) = asyncio.run(run())
    assert outcome.good


def test_a_request_without_an_answer_is_lost_and_one_we_gave_up_is_not() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.close()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> tuple[list[Outcome], list[Outcome]]:
        async with listening(hang_up) as port:
            lost = await burst("127.0.0.1", port, [ASK])
        async with listening(be_silent) as port:
            left = await burst("127.0.0.1", port, [Request(ASK.message, hangs_up_seconds=0.01)])
        return lost, left

    (lost,), (left,) = asyncio.run(run())
    assert (lost.lost, lost.left, lost.status) == (True, False, 0)
    assert (left.lost, left.left, left.status) == (False, True, 0)


def test_where_nobody_listens_every_request_comes_to_its_end() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen; a port that is only free may be somebody's the next moment
        outcomes = asyncio.run(burst("127.0.0.1", taken.getsockname()[1], [ASK] * 3))
    assert [(outcome.refused, outcome.lost, outcome.good) for outcome in outcomes] == [(True, False, False)] * 3


def test_a_connection_is_used_again_unless_the_server_closes_it() -> None:
    async def run(peer: Peer) -> list[Outcome]:
        async with listening(peer.serve) as port:
            return await closed_load("127.0.0.1", port, repeat(ASK), clients=2, seconds=0.1)

    kept, closed = Peer(), Peer(LAST)
    assert all(outcome.good for outcome in asyncio.run(run(kept)))
    assert kept.connections == 2
    assert kept.requests > 2
    assert all(outcome.good for outcome in asyncio.run(run(closed)))
    assert closed.connections >= closed.requests


def test_open_load_ends_when_it_is_told_to_and_says_when_and_where_each_was_sent() -> None:
    found: list[Outcome] = []

    async def run(peer: Peer) -> list[Outcome]:
        async with listening(peer.serve) as port:
            enough = lambda: len(found) >= 10  # noqa: E731
            return await open_load(
                "127.0.0.1", port, repeat(ASK), rate=500, seconds=60, connections=1, until=enough, into=found
            )

    assert asyncio.run(run(Peer())) is found
    assert 10 <= len(found) < 1_000
    assert len({outcome.port for outcome in found}) == 1
    assert all(outcome.meant <= outcome.sent <= outcome.ended for outcome in found)


def test_open_load_keeps_its_rate_whatever_the_server_does() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> list[Outcome]:
        async with listening(never) as port:
            requests = repeat(Request(ASK.message, hangs_up_seconds=0.05))
            return await open_load("127.0.0.1", port, requests, rate=500, seconds=0.4)

    outcomes = asyncio.run(run())
    assert 120 < len(outcomes) < 280  # 200, give or take five deviations: the same on every machine, as the seed is
    assert all(outcome.left for outcome in outcomes)


def test_a_latency_begins_when_the_request_was_meant_to_be_sent() -> None:
    """One connection to a server that answers nothing until the last request is due: all but one have to wait for it."""

    async def run() -> list[Outcome]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"hello")
            await asyncio.sleep(0.2)
            writer.write(OK)
            await Peer().serve(reader, writer)

        async with listening(serve) as port:
            return await open_load("127.0.0.1", port, repeat(ASK), rate=100, seconds=0.2, connections=1)

    outcomes = asyncio.run(run())
    assert all(outcome.good for outcome in outcomes)
    assert outcomes[0].seconds >= 0.2
    assert outcomes[1].seconds > 0.05


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value
    assert percentile([], percent) == 0
