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
from typing import cast

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

#: At a stop: how often it is looked whether all is over, and how long those are waited for who shake hands.
_LOOK_SECONDS, _HANDSHAKE_SECONDS = 0.02, 1.0


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
            host, port = listener.getsockname()[:2]
            event = "managing" if (host, port) == self._process.management else "listening"
            scheme = "http" if self.config.ssl is None else "https"
            log.info("event=%s url=%s://%s:%d", event, scheme, f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and finish what was accepted, as far as the time for it goes.

        Whoever has been let in by the kernel is answered too (doorstep.py). As long as other processes take connections from
        the same listeners, what waits is theirs.
        """
        for accepting in self._accepting:
            accepting.close()
        last = self._spread is None or self._spread.nobody_takes()
        self._process.closing = True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        until = loop.time() + min(doorstep.LONGEST_SECONDS, self.drain_seconds_left())
        while not self._shut(last=last, whoever_comes=self.force_exit or loop.time() >= until):
            await asyncio.sleep(_LOOK_SECONDS)
        await self._finish()
        for connection in list(self.server_state.connections):
            cast(HttpEdge, connection).interrupt()
        for task in self.server_state.tasks:
            task.cancel()
        if self._process.lane is not None:
            await self._process.lane.interrupt()
        await asyncio.sleep(0)  # what was just written goes out

    def _shut(self, *, last: bool, whoever_comes: bool) -> bool:
        """Close the listeners, unless somebody is half in; tell whether all are closed."""
        closed = [accepting.shut(last=last, whoever_comes=whoever_comes) for accepting in self._accepting]
        return all(closed)

    async def _finish(self) -> None:
        """Wait until nobody has anything more to ask, or to be told, as long as it may take."""
        loop, state = asyncio.get_running_loop(), self.server_state
        until = loop.time() + self.drain_seconds_left()
        # A client that says nothing must not hold up the stop by its handshake.
        shaken_until = loop.time() + _HANDSHAKE_SECONDS
        while not self.force_exit and loop.time() < until:
            shaking = loop.time() < shaken_until and self._connections() > len(state.connections)
            if not (state.connections or state.tasks or shaking):
                return
            await asyncio.sleep(_LOOK_SECONDS)

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
