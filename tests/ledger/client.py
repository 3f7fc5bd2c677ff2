"""The client: 64 connections over raw sockets, half of them pipelined, that send a plan and write down what becomes of it.

It is callbacks nearly all the way, since it shares two cores with the server it drives. A connection asks for the next
request of the plan whenever it has room; so a lying pair, whose numbers are neighbours, is on the wire at the same time.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.ledger import answers, bodies, tracer
from tests.ledger.answers import Answer, NotHttp
from tests.ledger.ledger import Ledger
from tests.ledger.plan import Cut, Request

#: How many requests a pipelined connection has on the wire at once.
_PIPELINED = 4
#: SO_LINGER on, for no time: closing resets the connection instead of ending it in good order.
_RESET = struct.pack("ii", 1, 0)
#: A client that waits hangs up after at most so many seconds: about as long as an answer takes.
_PATIENCE_SECONDS = 0.04
#: Seconds between two looks at what is overdue, and for which a server may take to end its side of a connection.
_TICK_SECONDS, _END_SECONDS = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is driven. A request not answered `deadline_seconds` + `grace_seconds` after it was sent is lost."""

    host: str
    port: int
    seed: int
    connections: int = 64
    deadline_seconds: float = 10.0
    grace_seconds: float = 5.0
    path: str = f"/v2/models/{tracer.MODEL}/infer"


async def drive(
    settings: Settings, plan: Iterator[Request], ledger: Ledger, tick: Callable[[], None] = lambda: None
) -> None:
    """Send a plan and return when all that was sent has ended; raise OSError if the server cannot be reached at first.

    All connections are open before the first request is sent. `tick` is called now and then.
    """
    run = _Run(settings, plan, ledger)
    first = await asyncio.gather(*(run.connect(number) for number in range(settings.connections)))
    slots = [asyncio.create_task(run.keep(number, connection)) for number, connection in enumerate(first)]
    while pending := [slot for slot in slots if not slot.done()]:
        await asyncio.wait(pending, timeout=_TICK_SECONDS)
        run.give_up_what_is_overdue()
        tick()
    for slot in slots:
        slot.result()


class _Run:
    """What the connections of a run share: the plan, and the ledger."""

    def __init__(self, settings: Settings, plan: Iterator[Request], ledger: Ledger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.host = f"{settings.host}:{settings.port}"
        self._plan = plan
        self._exhausted = False
        self._connections: set[_Connection] = set()
        self._numbers = iter(range(2**62))

    async def connect(self, slot: int) -> "_Connection":
        """Open a connection; those of every second slot are pipelined."""
        loop = asyncio.get_running_loop()
        depth = _PIPELINED if slot % 2 else 1
        _, connection = await loop.create_connection(
            lambda: _Connection(self, number=next(self._numbers), depth=depth), self.settings.host, self.settings.port
        )
        return connection

    async def keep(self, slot: int, connection: "_Connection") -> None:
        """Use a connection and, when it has ended, another one in its place, until the plan is exhausted."""
        while True:
            self._connections.add(connection)
            connection.fill()
            await connection.ended
            self._connections.discard(connection)
            if self._exhausted:
                return
            try:
                connection = await self.connect(slot)
            except OSError:
                return  # the server is gone, and the judge will find that not all of the plan was sent

    def next(self) -> Request | None:
        """Return the next request of the plan; None when all have been sent."""
        request = next(self._plan, None)
        self._exhausted = request is None
        return request

    def give_up_what_is_overdue(self) -> None:
        """Declare lost what should have been answered by now."""
        allowed = self.settings.deadline_seconds + self.settings.grace_seconds
        before = time.monotonic() - allowed
        for connection in list(self._connections):
            connection.give_up_before(before)


class _Connection(asyncio.Protocol):
    """One connection, and the requests on it that wait for an answer, oldest first."""

    def __init__(self, run: _Run, *, number: int, depth: int) -> None:
        self._run = run
        self._ledger = run.ledger
        self._number = number
        self._depth = depth
        self._waiting: deque[tuple[Request, float]] = deque()
        self._buffer = bytearray()
        # No more requests: the plan is exhausted, or one of them is going to hang up.
        self._last = False
        self._half_closed = False
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Match answers with requests, in the order in which they were sent."""
        self._buffer += data
        try:
            while self._waiting and (answer := answers.take(self._buffer)) is not None:
                self._end(self._waiting.popleft()[0], answer)
                if len(self._waiting) == 1 and self._waiting[0][0].cut is Cut.WAITING:
                    self._prepare_to_leave(self._waiting[0][0])
        except NotHttp as error:
            self._buffer.clear()
            self._lose(str(error).replace(" ", "_"))
            self._transport.abort()
            return
        if self._buffer and not self._waiting:
            self._ledger.write("STRAY", self._number, bodies.digest(bytes(self._buffer)))
            self._buffer.clear()
        self.fill()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; what still waits for its answer is lost, unless we hung up ourselves."""
        self._lose("eof" if exc is None else type(exc).__name__)
        if not self.ended.done():
            self.ended.set_result(None)

    def fill(self) -> None:
        """Send as many requests as there is room for; say goodbye when there are none left."""
        while len(self._waiting) < self._depth and not self._last and not self._transport.is_closing():
            request = self._run.next()
            if request is None:
                self._last = True
            else:
                self._send(request)
        if self._last and not self._waiting and not self._half_closed and not self._transport.is_closing():
            # Our side is closed and the server's still open: bytes that come now are strays.
            self._half_closed = True
            self._transport.write_eof()
            self._loop.call_later(_END_SECONDS, self._transport.abort)

    def give_up_before(self, time: float) -> None:
        """Declare everything here lost if the oldest request was sent before that time (monotonic, in seconds)."""
        if self._waiting and self._waiting[0][1] < time:
            self._lose("deadline")
            self._transport.abort()

    def _send(self, request: Request) -> None:
        settings = self._run.settings
        message = bodies.message(request, seed=settings.seed, host=self._run.host, path=settings.path)
        now = time.monotonic()
        self._ledger.write(
            "SENT", request.number, self._number, request.kind, request.wants, request.rows,
            bodies.digest(message), int((now + settings.deadline_seconds) * 1e9), request.id,
        )  # fmt: skip
        self._waiting.append((request, now))
        self._last = request.cut is not None
        if request.cut is Cut.BEFORE:
            message = message[: 1 + request.draw % (len(message) - 1)]
        self._transport.write(message)
        self._prepare_to_leave(request)

    def _prepare_to_leave(self, request: Request) -> None:
        """Hang up in a moment, if that is what the request is for.

        One that is cut before it is whole takes those along that were pipelined before it. One that is given up while it
        waits has them answered first: only then the server works on it, and has something to cancel.
        """
        if request.cut is Cut.BEFORE or (request.cut is Cut.WAITING and len(self._waiting) == 1):
            self._loop.call_later(_PATIENCE_SECONDS * request.draw / 2**16, self._hang_up, request)

    def _hang_up(self, request: Request) -> None:
        """Leave, in good order or with a reset."""
        if not self._waiting or self._transport.is_closing():
            return  # the answer was faster
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            self._ledger.write("CUT", waiting.number, request.cut if waiting is request else "along")
        if request.draw % 2:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _end(self, request: Request, answer: Answer) -> None:
        if answer.status == 200:
            version, id, rows = answers.ok_facts(answer)
            self._ledger.write("OK", request.number, version, bodies.digest(answer.body), id, rows)
        else:
            self._ledger.write("ERR", request.number, *answers.err_facts(answer))

    def _lose(self, why: str) -> None:
        while self._waiting:
            self._ledger.write("LOST", self._waiting.popleft()[0].number, why)
