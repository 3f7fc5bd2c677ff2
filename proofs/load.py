"""Load over raw sockets: HTTP/1.1 as bytes, on one event loop, cheap enough to share two cores with the server it loads.

Closed load has so many clients, each sending when its last answer has come: it finds how much a server carries. Open load
sends at a rate whatever the server does, as the world does, and counts each latency from the moment at which the request
was *meant* to be sent: a generator that falls behind must not make a server look fast.

Every request comes to exactly one Outcome. Nobody retries. Connections are kept alive, and given up where an answer says
`connection: close`.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What to send: a whole message, how to tell that a 200's body is right, and after how long to hang up on it."""

    message: bytes
    right: Callable[[bytes], bool] = bool
    hangs_up_seconds: float | None = None
    kind: str = ""
    #: The same as `right`, where the answer's Sameway-Version has to be right, too.
    right_of: Callable[[bytes, str], bool] | None = None

    def judge(self, body: bytes, version: str) -> bool:
        """Tell whether a 200 with this body and this Sameway-Version is right."""
        return self.right(body) and (self.right_of is None or self.right_of(body, version))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. Times are monotonic; `meant` is when it should have been sent, `ended` when its end was known."""

    kind: str
    meant: float
    ended: float
    #: 0 where no answer came: `left` says that we hung up, otherwise the connection was lost or refused.
    status: int
    left: bool = False
    #: Whether a 200's body was right.
    right: bool = False
    retry_after: int | None = None
    #: The Sameway-Version header.
    version: str = ""
    #: When its first byte was given to the connection, 0 if there was none; and that connection's port at our end.
    sent: float = 0.0
    port: int = 0
    #: Whether nobody listened: it was never with the server.
    refused: bool = False

    @property
    def seconds(self) -> float:
        """How long it took, from the moment at which it was meant to be sent."""
        return self.ended - self.meant

    @property
    def good(self) -> bool:
        """Whether it got its right answer."""
        return self.status == 200 and self.right

    @property
    def lost(self) -> bool:
        """Whether it was with the server, and got no answer at all though we waited for one."""
        return self.status == 0 and not self.left and not self.refused


def post(host: str, path: str, body: bytes, *headers: str) -> bytes:
    """Return a POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that so many percent of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


async def closed_load(
    host: str,
    port: int,
    requests: Iterator[Request],
    *,
    clients: int,
    seconds: float,
    until: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Let so many clients send one request after the other for so long; return all outcomes. `until` ends it sooner."""
    pool = _Pool(host, port, connections=clients)
    end = time.monotonic() + seconds

    async def client() -> None:
        while (now := time.monotonic()) < end and not until():
            request = next(requests)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            pool.send(request, now, done)
            await done

    await asyncio.gather(*(client() for _ in range(clients)))
    await pool.close()
    return pool.outcomes


async def open_load(
    host: str,
    port: int,
    requests: Iterator[Request],
    *,
    rate: float,
    seconds: float,
    connections: int = 512,
    seed: int = 0,
    until: Callable[[], bool] = lambda: False,
    into: list[Outcome] | None = None,
) -> list[Outcome]:
    """Send at a rate for so long, at random moments as strangers do (Poisson); return once all have ended.

    Where all connections are busy a request waits for one, and its latency grows: the generator is bounded, too. `until`
    ends it sooner; outcomes are put `into` a list as they come.
    """
    pool = _Pool(host, port, connections=connections, outcomes=into)
    gaps = random.Random(seed)
    meant = time.monotonic()
    end = meant + seconds
    while (meant := meant + gaps.expovariate(rate)) < end and not until():
        ahead = meant - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        pool.send(next(requests), meant)
    await pool.drained()
    await pool.close()
    return pool.outcomes


async def burst(host: str, port: int, requests: Iterable[Request]) -> list[Outcome]:
    """Send requests all at once, each on a connection of its own; return once all have ended."""
    all_of_them = list(requests)
    pool = _Pool(host, port, connections=max(1, len(all_of_them)))
    for request in all_of_them:
        pool.send(request, time.monotonic())
    await pool.drained()
    await pool.close()
    return pool.outcomes


class _Pool:
    """Keep-alive connections, a bounded number of them, and the requests that wait for one."""

    def __init__(self, host: str, port: int, *, connections: int, outcomes: list[Outcome] | None = None) -> None:
        self.outcomes = [] if outcomes is None else outcomes
        self._host, self._port = host, port
        self._most = connections
        self._open = 0
        self._free: list[_Connection] = []
        self._line: deque[_Sent] = deque()
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, request: Request, meant: float, done: "asyncio.Future[None] | None" = None) -> None:
        """Send a request as soon as there is a connection for it."""
        self._under_way += 1
        self._none_under_way.clear()
        sent = _Sent(request, meant, done)
        while self._free:
            connection = self._free.pop()
            # One that the server has just closed is as good as gone, though the event loop has not said so yet.
            if not connection.transport.is_closing():
                connection.send(sent)
                return
        self._line.append(sent)
        self._open_another()

    async def drained(self) -> None:
        """Return once every request has ended."""
        if self._under_way:
            await self._none_under_way.wait()

    async def close(self) -> None:
        """Close all connections, also those about to be opened; every request must have ended."""
        while self._open:
            for connection in self._free:
                connection.transport.abort()
            await asyncio.sleep(0.001)

    def free(self, connection: "_Connection") -> None:
        """Take a connection back, or give it the next request that waits."""
        if self._line:
            connection.send(self._line.popleft())
        else:
            self._free.append(connection)

    def gone(self, connection: "_Connection") -> None:
        """Note that a connection has ended; one takes its place where requests wait."""
        self._open -= 1
        if connection in self._free:
            self._free.remove(connection)
        self._open_another()

    def end(self, sent: "_Sent", outcome: Outcome) -> None:
        """Note how a request ended."""
        self.outcomes.append(outcome)
        self._under_way -= 1
        if not self._under_way:
            self._none_under_way.set()
        if sent.done is not None and not sent.done.done():
            sent.done.set_result(None)

    def _open_another(self) -> None:
        """Open a connection where requests wait for one and there may be one more."""
        if self._line and self._open < self._most:
            self._open += 1
            task = asyncio.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError as error:
            self._open -= 1
            if self._line:  # this is the end of the request that wanted the connection
                sent, refused = self._line.popleft(), isinstance(error, ConnectionRefusedError)
                self.end(sent, Outcome(sent.request.kind, sent.meant, time.monotonic(), 0, refused=refused))
            self._open_another()  # more may have come to wait meanwhile than there may be connections


@dataclass(slots=True)
class _Sent:
    request: Request
    meant: float
    done: "asyncio.Future[None] | None"
    at: float = 0.0


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on it."""

    transport: asyncio.Transport

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._port = 0
        self._sent: _Sent | None = None
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._port = int(transport.get_extra_info("sockname")[1])
        self._pool.free(self)

    def send(self, sent: _Sent) -> None:
        """Send a request, and hang up on it in time if that is what it is for."""
        self._sent = sent
        sent.at = time.monotonic()
        self.transport.write(sent.request.message)
        if sent.request.hangs_up_seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(sent.request.hangs_up_seconds, self._hang_up)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or self._sent is None:
            return
        head = self._buffer[:head_end].lower()
        body_end = head_end + 4 + int(_header(head, b"content-length") or b"0")
        if len(self._buffer) < body_end:
            return
        body, self._buffer = self._buffer[head_end + 4 : body_end], self._buffer[body_end:]
        status = int(head[9:12])
        retry_after = _header(head, b"retry-after")
        version = (_header(head, b"sameway-version") or b"").decode("latin-1")
        self._end(
            status,
            right=status == 200 and self._sent.request.judge(body, version),
            retry_after=None if retry_after is None else int(retry_after),
            version=version,
        )
        if _header(head, b"connection") == b"close":
            self.transport.close()
        else:
            self._pool.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent is not None:
            self._end(0)
        self._pool.gone(self)

    def _hang_up(self) -> None:
        if self._sent is not None:
            self._end(0, left=True)
            self.transport.abort()

    def _end(
        self, status: int, *, left: bool = False, right: bool = False, retry_after: int | None = None, version: str = ""
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sent, self._sent = self._sent, None
        assert sent is not None
        kind, now = sent.request.kind, time.monotonic()
        outcome = Outcome(kind, sent.meant, now, status, left, right, retry_after, version, sent=sent.at, port=self._port)
        self._pool.end(sent, outcome)


def _header(head: bytes, name: bytes) -> bytes | None:
    """Return a header's value from a head in lower case."""
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0] if found else None
