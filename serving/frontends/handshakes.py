"""Accepting connections: one by one, so that processes can share them evenly, and counted from their first moment.

The event loop's own listener takes all that wait at once, and with TLS calls a protocol after the handshake only: a client
that never shakes hands is no connection yet, but holds a socket. This one accepts sockets itself, and lets the event loop
shake hands on each; it has what a server of asyncio's needs to be closed.
"""

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Any

from serving.frontends import doorstep
from serving.spread import Spread

log = logging.getLogger(__name__)

#: How long nothing is accepted where the process has no file descriptor left; asyncio's own listeners wait as long.
_EXHAUSTED_SECONDS = 1.0
#: How long a connection is left to other processes before it is looked at again: the shortest time that timers know.
_MOMENT_SECONDS = 0.001
#: How long a client of TLS may take to say that it has heard the connection end. Many never say it, as the pool of Python's
#: own client, and hold a place all the time: asyncio gives them 30 s.
_GOODBYE_SECONDS = 1.0
#: Accepted in one turn of the loop at most; whoever is connected already must not wait for a crowd.
_MOST_AT_ONCE = 64


class Handshakes:
    """A listener. `crowded` tells, with so many handshakes under way, whether one more socket is too many.

    `spread`, if there is one, tells whether this process takes a connection; `connections` how many it has.
    """

    def __init__(
        self,
        listener: socket.socket,
        edge: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        *,
        seconds: float,
        crowded: Callable[[int], bool],
        connections: Callable[[], int],
        spread: Spread | None = None,
    ) -> None:
        """Begin to accept; without a context there is no handshake."""
        listener.setblocking(False)
        self._listener = listener
        self._edge = edge
        self._crowded = crowded
        self._connections = connections
        self._spread = spread
        # Any: keyword arguments of a function of the event loop.
        self._tls: dict[str, Any] = {}
        if context is not None:
            self._tls = {"ssl": context, "ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": _GOODBYE_SECONDS}
        #: By the task in which it shakes hands, each connection that has begun.
        self._under_way: dict[asyncio.Task[None], asyncio.Protocol] = {}
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._waits = select.poll()
        self._waits.register(listener.fileno(), select.POLLIN)
        self._loop.add_reader(listener.fileno(), self._accept)

    def begun(self, connections: Collection[object]) -> int:
        """Return how many sockets are accepted and not among these connections yet."""
        return sum(protocol not in connections for protocol in self._under_way.values())

    def close(self) -> None:
        """Leave whoever comes to wait; handshakes that are under way go on."""
        self._loop.remove_reader(self._listener.fileno())
        if self._pause is not None:
            self._pause.cancel()
        if self._spread is not None:
            self._spread.say(None)

    def shut(self, *, last: bool, whoever_comes: bool) -> bool:
        """Take who still waits, and tell whether the listener is closed now; doorstep.py has the arguments."""
        if self._listener.fileno() == -1:
            return True
        connections, closed = doorstep.shut(self._listener, last=last, whoever_comes=whoever_comes)
        for connection in connections:
            self._take(connection)
        return closed

    def _accept(self) -> None:
        """Take connections that wait, unless others are to."""
        spread = self._spread
        for _ in range(_MOST_AT_ONCE):
            if spread is not None and not spread.takes(self._connections()):
                self._look_again_after(_MOMENT_SECONDS)
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                if spread is not None:
                    spread.none_waits()
                return
            except OSError as error:
                log.error("event=not_accepted reason=%r", error.strerror)
                self._look_again_after(_EXHAUSTED_SECONDS)
                return
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        if self._crowded(len(self._under_way)):
            accepted.close()
            return
        protocol = self._edge()
        task = self._loop.create_task(self._shake(accepted, protocol))
        self._under_way[task] = protocol
        task.add_done_callback(self._under_way.pop)

    def _look_again_after(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept)
        if self._waits.poll(0):
            self._accept()
        elif self._spread is not None:
            self._spread.none_waits()

    async def _shake(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            # An answer is written in two parts, and the second must not wait until the first has arrived.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: protocol, accepted, **self._tls)
        except OSError:  # no TLS, not in time, or gone: nobody is there to be told
            accepted.close()
