"""Running an ASGI application on the HTTP edge until the process is told to stop.

On SIGTERM the server is not ready at once, goes on answering for a drain delay, so that whoever balances load has time
to notice, then stops listening, finishes what it accepted, and returns. uvicorn alone ends with the signal (143).
"""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from serving.frontends import doorstep
from serving.frontends.errand import Lane
from serving.frontends.handshakes import Handshakes
from serving.frontends.http_edge import HttpEdge
from serving.frontends.shared import Process
from serving.limits import Limits
from serving.spread import Spread

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, stopped in two steps."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        on_stop: Callable[[], None],
        on_tick: Callable[[], None],
        drain_delay_seconds: float,
        drain_seconds: float,
        tls: ssl.SSLContext | None = None,
        patient: bool = False,
        lane: Callable[[asyncio.AbstractEventLoop], Lane] | None = None,
        on_start: Callable[[], Awaitable[None]] | None = None,
        spread: Spread | None = None,
    ) -> None:
        """`patient`: a second SIGTERM does not cut the drain delay short. `on_start` is awaited before it listens.

        `lane` takes requests for models past the app. `spread` is there where other processes take connections from the
        same listeners.
        """
        process = Process(limits)
        config = uvicorn.Config(
            app,
            # uvicorn calls it as it would the class.
            http=functools.partial(HttpEdge, limits=limits, process=process),  # type: ignore[arg-type]
            ssl_context_factory=None if tls is None else lambda *_: tls,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=doorstep.BACKLOG,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]
            # Seconds in whole numbers; the engine has its own, exact bound.
            timeout_graceful_shutdown=max(1, round(drain_seconds)),
        )
        super().__init__(config)
        self._limits = limits
        self._process = process
        self._make_lane = lane
        self._on_start = on_start
        self._spread = spread
        self._accepting: list[Handshakes] = []
        self._on_stop = on_stop
        self._on_tick = on_tick
        self._drain_seconds = drain_seconds
        self._drain_delay_seconds = drain_delay_seconds
        self._stop_at: float | None = None
        self._patient = patient
        # The listeners once more, for the end: a process that has used up its descriptors could not get them then.
        self._lines: list[socket.socket] = []

    def run_on(self, listener: socket.socket, *, management: socket.socket | None = None) -> None:
        """Serve on listening sockets until a signal has come and everything accepted has been answered.

        What comes in by `management`, if there is one, is marked so; the routes decide what that means.
        """
        if management is not None:
            host, port = management.getsockname()[:2]
            self._process.management = (host, port)
        self.run(sockets=[listener, *([] if management is None else [management])])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections, and say where. From here on a signal ends the server cleanly, so not sooner."""
        if self._make_lane is not None:
            self._process.lane = self._make_lane(asyncio.get_running_loop())
        await super().startup([])
        if self._on_start is not None:
            await self._on_start()
        self._on_tick()  # others are to know that this process runs
        if self._spread is not None:
            self._spread.say(0)  # from the first moment, or others would take all that waits
        for listener in sockets or ():
            doorstep.open_to_all(listener)
            self._accept(listener)
            self._lines.append(listener.dup())
            host, port = listener.getsockname()[:2]
            event = "managing" if (host, port) == self._process.management else "listening"
            scheme = "http" if self.config.ssl is None else "https"
            log.info("event=%s url=%s://%s:%d", event, scheme, f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and finish what was accepted.

        Whoever has been let in by the kernel is answered too (doorstep.py). As long as other processes take connections from
        the same listeners, those stay open, and what waits is theirs.
        """
        for server in self.servers:
            server.close()
        last = self._spread is None or self._spread.nobody_takes()
        accepted = [connection for line in self._lines for connection in doorstep.taken(line, last=last)]
        loop = asyncio.get_running_loop()
        handshakes = (loop.connect_accepted_socket(self._edge, connection, **self._tls()) for connection in accepted)
        # A client that says nothing must not hold up the stop by its handshake.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*handshakes, return_exceptions=True), self.drain_seconds_left())
        await super().shutdown(sockets)
        if self._process.lane is not None:
            await self._process.lane.interrupt()
            await asyncio.sleep(0)  # what was just written goes out

    def _accept(self, listener: socket.socket) -> None:
        """Accept connections, with a deadline of our own for the TLS handshake: Python's is 60 seconds."""
        accepting = Handshakes(
            listener,
            self._edge,
            self.config.ssl,
            seconds=self._limits.head_seconds,
            crowded=self._crowded,
            connections=self._connections,
            spread=self._spread,
        )
        self._accepting.append(accepting)
        self.servers.append(accepting)  # type: ignore[arg-type]  # uvicorn closes it, and no more

    def _connections(self) -> int:
        """Return how many sockets of clients there are."""
        connections = self.server_state.connections
        return len(connections) + sum(accepting.begun(connections) for accepting in self._accepting)

    def _crowded(self, handshakes: int) -> bool:
        """Tell whether there are so many sockets that one more is not even told so; the edge counts in the same way."""
        return handshakes + len(self.server_state.connections) >= 2 * self._limits.connections

    def _edge(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, made as uvicorn makes it: it types it as any protocol."""
        edge = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return edge(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _tls(self) -> dict[str, Any]:  # Any: keyword arguments of two functions of the event loop
        tls = self.config.ssl
        return {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": self._limits.head_seconds}

    def drain_seconds_left(self) -> float:
        """Return how much of the time to finish accepted requests is left, all of it before a stop has begun."""
        if self._stop_at is None:
            return self._drain_seconds
        return min(self._drain_seconds, max(0.0, self._stop_at + self._drain_seconds - time.monotonic()))

    def stop(self, *, delay_seconds: float = 0.0) -> None:
        """Begin to stop: not ready from now on, no new connections after the delay. Callable from a signal handler."""
        if self._stop_at is None:
            self._process.stopping = True
            self._on_stop()
        self._stop_at = time.monotonic() + delay_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: SIGTERM drains first, SIGINT (a person at a terminal) does not wait, a second one hurries."""
        again = self._stop_at is not None
        if again and self._patient and sig == signal.SIGTERM:
            return
        self.stop(delay_seconds=self._drain_delay_seconds if sig == signal.SIGTERM and not again else 0.0)
        self.force_exit = self.force_exit or (again and sig == signal.SIGINT)

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether it is time to stop; and let others look whether all is well."""
        self._on_tick()
        if self._spread is not None and self._stop_at is None:
            self._spread.say(self._connections())
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving; unlike uvicorn, do not raise them again afterwards: a clean stop is a success."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
